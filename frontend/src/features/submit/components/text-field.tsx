import { Textarea, TextInput } from "@mantine/core";
import { type ReactNode, useState } from "react";
import { textOf, typedValue } from "../field-text";
import type { FieldInput } from "../spec-schema";
import classes from "./fields.module.css";

/** The description, a unit say, beneath: so that fields of a row stand on one line. */
const ORDER: ("label" | "input" | "description" | "error")[] = ["label", "input", "description", "error"];

interface TextFieldProps {
  label?: string;
  /** Where no label stands beside it. */
  name?: string;
  input: FieldInput;
  value: unknown;
  /** Undefined removes the field: its default counts. */
  onChange: (value: unknown) => void;
  placeholder?: string;
  error?: ReactNode;
  description?: string;
  required?: boolean;
  className?: string;
}

/**
 * A text field for a number, several, a mapping or a text. What a person types stays as typed ("1e-3", "0.") while the
 * spec has its value; what is none is said here and does not reach the spec.
 */
export function TextField({ input, value, onChange, error, name, ...shown }: TextFieldProps) {
  const [typed, setTyped] = useState<string | null>(null);
  const known = textOf(value, input);
  const reading = typed === null ? null : typedValue(typed, input);
  // The text is the person's as long as it says what the spec says, or cannot be read.
  const isOwn = reading !== null && (!reading.ok || textOf(reading.value, input) === known);
  const text = isOwn && typed !== null ? typed : known;
  const refused = isOwn && !reading.ok ? `${reading.reason}. The spec still has ${known || "the default"}.` : null;

  const change = (next: string) => {
    setTyped(next);
    const read = typedValue(next, input);
    if (read.ok && textOf(read.value, input) !== known) onChange(read.value);
  };
  const common = {
    ...shown,
    "aria-label": name,
    value: text,
    error: refused ?? error,
    onChange: (event: { currentTarget: { value: string } }) => change(event.currentTarget.value),
    onBlur: () => setTyped((before) => (refused ? before : null)),
    autoComplete: "off",
    inputWrapperOrder: ORDER,
    spellCheck: false,
  };
  if (input.kind === "mapping") {
    return <Textarea {...common} autosize minRows={2} maxRows={10} className={classes.mono} />;
  }
  const isNumeric = input.kind !== "text";
  return <TextInput {...common} inputMode={isNumeric ? "decimal" : "text"} />;
}
