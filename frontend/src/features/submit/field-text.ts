import { isMap, parseDocument, stringify } from "yaml";
import type { FieldInput } from "./spec-schema";

/** What a person typed, as a value for the spec; undefined is an empty field: the default counts. */
export type Typed = { ok: true; value: unknown } | { ok: false; reason: string };

/** A value as it stands in its text field. */
export function textOf(value: unknown, input: FieldInput): string {
  if (value === undefined || value === null) return "";
  if (input.kind === "mapping") return typeof value === "object" ? mappingText(value) : String(value);
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Reads a text field. The API judges ranges; this only tells a number from what is none. */
export function typedValue(text: string, input: FieldInput): Typed {
  const trimmed = text.trim();
  if (trimmed === "") return { ok: true, value: undefined };
  if (input.kind === "number" || input.kind === "number-or-choice") return numberOf(trimmed);
  if (input.kind === "numbers") return numbersOf(trimmed, input.length);
  if (input.kind === "mapping") return mappingOf(text);
  return { ok: true, value: trimmed };
}

function numberOf(text: string): Typed {
  // Number() also takes "0x10", "Infinity" and " "; people mean decimal numbers.
  if (!/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text)) {
    return { ok: false, reason: `"${text}" is not a number` };
  }
  const value = Number(text);
  return Number.isFinite(value) ? { ok: true, value } : { ok: false, reason: `${text} is too large` };
}

function numbersOf(text: string, length: number): Typed {
  const parts = text
    .replace(/^\[|\]$/g, "")
    .split(/[\s,;]+/)
    .filter(Boolean)
    .map(numberOf);
  const bad = parts.find((part) => !part.ok);
  if (bad) return bad;
  if (parts.length !== length) return { ok: false, reason: `Give ${length} numbers, with commas between them` };
  return { ok: true, value: parts.map((part) => part.ok && part.value) };
}

function mappingOf(text: string): Typed {
  const document = parseDocument(text, { prettyErrors: false });
  if (document.errors.length > 0) return { ok: false, reason: document.errors[0]?.message ?? "This cannot be read" };
  if (!isMap(document.contents)) return { ok: false, reason: "Write one `name: value` a line" };
  return { ok: true, value: document.toJS() };
}

function mappingText(value: object): string {
  return Object.keys(value).length === 0 ? "" : stringify(value, { lineWidth: 0 }).trimEnd();
}
