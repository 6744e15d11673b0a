import { type Document, isAlias, isCollection, isMap, isScalar, LineCounter, parseDocument, type YAMLMap } from "yaml";
import { READING_ORDER } from "@/run/spec-order";

/** A spec as text, read; or where and why it cannot be read. */
export type Reading =
  | { ok: true; spec: Spec; document: Document.Parsed }
  | { ok: false; line: number; column: number; reason: string };
export type Spec = Record<string, unknown>;
export type Path = readonly string[];

/** As the texts of Basin are laid out: `{a: 1}` without inner spaces, no line broken by itself. */
const LAYOUT = { lineWidth: 0, flowCollectionPadding: false } as const;

/** Reads a spec's YAML. */
export function readSpec(text: string): Reading {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (error) return failure(lines.linePos(error.pos[0]), error.message);
  const root = document.contents;
  if (root !== null && !isMap(root)) {
    return failure(lines.linePos(root.range[0]), "A spec consists of fields, each written as `name: value`");
  }
  try {
    const spec = (document.toJS() ?? {}) as Spec;
    const odd = oddNumber(spec, []);
    if (!odd) return { ok: true, spec, document };
    const place = placeIn(document, lines, odd);
    return failure({ line: place?.line ?? 1, col: 1 }, `\`${odd.join(".")}\` must be a finite number`);
  } catch (cause) {
    // An alias without its anchor, or one that repeats itself too often.
    return failure({ line: 1, col: 1 }, cause instanceof Error ? cause.message : String(cause));
  }
}

/**
 * The text with one field changed, or removed (undefined). Comments, other fields and their order stay; a new top-level
 * field goes to its usual place. Returns the text as it is where it cannot be read.
 */
export function withField(text: string, path: Path, value: unknown): string {
  return changed(text, (document) => setField(document, path, value));
}

/** Several fields in one go. */
export function withFields(text: string, fields: readonly (readonly [Path, unknown])[]): string {
  return changed(text, (document) => {
    for (const [path, value] of fields) setField(document, path, value);
  });
}

/** The line (from 1) and the character range of the deepest part of `path` that the text holds; null for none. */
export function placeOf(text: string, path: Path): { line: number; from: number; to: number } | null {
  const lines = new LineCounter();
  return placeIn(parseDocument(text, { lineCounter: lines, prettyErrors: false }), lines, path);
}

function failure({ line, col }: { line: number; col: number }, reason: string): Reading {
  return { ok: false, line, column: col, reason };
}

function changed(text: string, change: (document: Document.Parsed) => void): string {
  const reading = readSpec(text);
  if (!reading.ok) return text;
  change(reading.document);
  const root = reading.document.contents;
  if (isMap(root) && root.items.length === 0 && !root.comment && !root.commentBefore) return "";
  return reading.document.toString(LAYOUT);
}

function setField(document: Document.Parsed, path: Path, value: unknown): void {
  if (value === undefined) {
    removeField(document, path);
    return;
  }
  const [top = ""] = path;
  const isNewTop = !document.has(top);
  for (let depth = 1; depth < path.length; depth++) makeSection(document, path.slice(0, depth));
  const known = document.getIn(path, true);
  if (isScalar(known) && (typeof value !== "object" || value === null)) {
    known.value = value;
    // How the old value was written ("1e-3", in quotes) says nothing of the new one.
    for (const trait of ["format", "minFractionDigits", "type", "source"] as const) delete known[trait];
  } else if (isMap(known) && isRecord(value)) {
    replaceEntries(document, path, known, value);
  } else {
    document.setIn(path, flowIfList(document, value));
  }
  if (isNewTop) moveToItsPlace(document, top);
}

function removeField(document: Document.Parsed, path: Path): void {
  if (!document.hasIn(path)) return;
  document.deleteIn(path);
  const parent = path.slice(0, -1);
  const section = parent.length > 0 ? document.getIn(parent, true) : undefined;
  const isEmpty = isMap(section) && section.items.length === 0 && !section.comment && !section.commentBefore;
  if (isEmpty) removeField(document, parent);
}

/** Makes the value at `path` something that fields can be put into; what an alias stands for is copied there. */
function makeSection(document: Document.Parsed, path: Path): void {
  const known = document.getIn(path, true);
  if (isMap(known)) return;
  const copied = isAlias(known) ? known.resolve(document)?.toJSON() : undefined;
  document.setIn(path, document.createNode(isRecord(copied) ? copied : {}));
}

/** Changes, adds and removes entries one by one, so that the comments of those that stay are kept. */
function replaceEntries(document: Document.Parsed, path: Path, map: YAMLMap, value: Spec): void {
  const before = Object.keys((map.toJSON() ?? {}) as Spec);
  for (const key of before) if (!(key in value)) map.delete(key);
  for (const [key, entry] of Object.entries(value)) setField(document, [...path, key], entry);
}

function flowIfList(document: Document.Parsed, value: unknown) {
  return document.createNode(value, { flow: Array.isArray(value) });
}

/** A new section stands where a person would look for it, and not behind all others. */
function moveToItsPlace(document: Document.Parsed, key: string): void {
  const root = document.contents;
  if (!isMap(root)) return;
  const place = (name: unknown) => {
    const index = READING_ORDER.indexOf(String(isScalar(name) ? name.value : name));
    return index < 0 ? READING_ORDER.length : index;
  };
  const at = root.items.findIndex((pair) => String(isScalar(pair.key) ? pair.key.value : pair.key) === key);
  const [pair] = root.items.splice(at, 1);
  if (!pair) return;
  const before = root.items.findIndex((other) => place(other.key) > place(key));
  root.items.splice(before < 0 ? root.items.length : before, 0, pair);
}

function placeIn(document: Document.Parsed, lines: LineCounter, path: Path) {
  let found: { line: number; from: number; to: number } | null = null;
  let node: unknown = document.contents;
  for (const part of path) {
    if (!isCollection(node)) break;
    const pair = isMap(node) ? node.items.find(({ key }) => isScalar(key) && String(key.value) === part) : undefined;
    const value: unknown = pair ? pair.value : node.get(isMap(node) ? part : Number(part), true);
    const range = rangeOf(pair?.key) ?? rangeOf(value);
    if (!range) break;
    const end = isScalar(value) ? (rangeOf(value)?.[1] ?? range[1]) : range[1];
    found = { line: lines.linePos(range[0]).line, from: range[0], to: Math.max(range[1], end) };
    node = value;
  }
  return found;
}

function rangeOf(node: unknown): [number, number] | null {
  const range = (node as { range?: [number, number, number] | null } | null | undefined)?.range;
  return range ? [range[0], range[1]] : null;
}

/** The path of a number that JSON cannot carry: `.nan`, `.inf`. */
function oddNumber(value: unknown, path: Path): Path | null {
  if (typeof value === "number") return Number.isFinite(value) ? null : path;
  if (typeof value !== "object" || value === null) return null;
  for (const [key, inner] of Object.entries(value)) {
    const found = oddNumber(inner, [...path, key]);
    if (found) return found;
  }
  return null;
}

function isRecord(value: unknown): value is Spec {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
