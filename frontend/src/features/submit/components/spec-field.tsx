import { Autocomplete, SegmentedControl, Select, Switch } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { SpecProblem } from "@/api/types";
import { modelNamesQuery } from "../api/choices";
import { textOf } from "../field-text";
import { labelOf, rhoUnit } from "../form-layout";
import { problemSentence } from "../problems";
import type { Field } from "../spec-schema";
import { FieldFrame, FieldGroup } from "./field-frame";
import classes from "./fields.module.css";
import { TextField } from "./text-field";

export interface SpecFieldProps {
  field: Field;
  value: unknown;
  onChange: (value: unknown) => void;
  problems: readonly SpecProblem[] | undefined;
  /** The method's layer-wise rule where it has one: the unit of rho. */
  layerwise: unknown;
}

/** One field of the spec with the control that fits it, and its explanation. */
export function SpecField(props: SpecFieldProps) {
  const { path, input, description } = props.field;
  const isWide = input.kind === "mapping" || input.kind === "number-or-choice" || path === "model.name";
  return (
    <FieldFrame name={labelOf(path)} description={description} width={isWide ? "all" : undefined}>
      <Control {...props} />
    </FieldFrame>
  );
}

function Control({ field, value, onChange, problems, layerwise }: SpecFieldProps) {
  const label = labelOf(field.path);
  const error = problems?.map(problemSentence).join(" ");
  const common = { label, error, required: field.required };
  const { input } = field;
  if (field.path === "model.name") return <ModelName {...common} value={value} onChange={onChange} />;
  if (input.kind === "choice") {
    return (
      <Select
        {...common}
        data={[...input.options]}
        value={typeof value === "string" ? value : null}
        placeholder={defaultText(field)}
        clearable={!field.required}
        onChange={(chosen) => onChange(chosen ?? undefined)}
      />
    );
  }
  if (input.kind === "flag") {
    const checked = value === undefined ? field.default === true : value === true;
    return <Switch label={label} error={error} mt={28} checked={checked} onChange={() => onChange(!checked)} />;
  }
  if (input.kind === "number-or-choice") {
    return <WordOrNumber {...{ field, value, onChange, error }} words={input.options} name={label} />;
  }
  return (
    <TextField
      {...common}
      input={input}
      value={value}
      onChange={onChange}
      placeholder={defaultText(field)}
      description={field.path === "method.rho" ? rhoUnit(layerwise) : undefined}
    />
  );
}

/** What counts when the field is empty. */
function defaultText(field: Field): string | undefined {
  if (field.default === null) return "off";
  if (field.default !== undefined && textOf(field.default, field.input) !== "") {
    return textOf(field.default, field.input);
  }
  return field.example ? `for example ${field.example.replaceAll("\n", ", ")}` : undefined;
}

interface ModelNameProps {
  label: string;
  error: string | undefined;
  required: boolean;
  value: unknown;
  onChange: (value: unknown) => void;
}

/** A model by its name, with timm's names as suggestions once the field is entered. */
function ModelName({ value, onChange, ...common }: ModelNameProps) {
  const [entered, setEntered] = useState(false);
  const names = useQuery({ ...modelNamesQuery, enabled: entered });
  return (
    <Autocomplete
      {...common}
      data={names.data ?? []}
      limit={60}
      maxDropdownHeight={260}
      value={textOf(value, { kind: "text" })}
      onFocus={() => setEntered(true)}
      onChange={(text) => onChange(text.trim() === "" ? undefined : text.trim())}
      spellCheck={false}
    />
  );
}

interface WordOrNumberProps {
  field: Field;
  value: unknown;
  onChange: (value: unknown) => void;
  words: readonly string[];
  name: string;
  error: string | undefined;
}

/** One of the words, or a number of one's own, as alpha is. */
function WordOrNumber({ field, value, onChange, words, name, error }: WordOrNumberProps) {
  const said = value ?? field.default;
  const isWord = typeof said === "string" && words.includes(said);
  return (
    <FieldGroup name={name}>
      <SegmentedControl
        aria-label={name}
        data={[
          ...words.map((word) => ({ value: word, label: word.replaceAll("_", " ") })),
          { value: "number", label: "a number" },
        ]}
        value={isWord ? String(said) : "number"}
        onChange={(chosen) => onChange(chosen === "number" ? FIRST_NUMBER : chosen)}
      />
      {!isWord && (
        <TextField
          name={`${name}, a number`}
          input={{ kind: "number", integer: false }}
          value={said}
          onChange={onChange}
          error={error}
          className={classes.number}
        />
      )}
    </FieldGroup>
  );
}

/** Where a number of one's own begins: a moderate reuse of the direction. */
const FIRST_NUMBER = 0.5;
