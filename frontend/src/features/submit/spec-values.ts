import { type Path, readSpec, type Spec, withFields } from "./spec-document";
import {
  defaultKind,
  type Field,
  fieldsOf,
  type KindOf,
  kindsOf,
  UNION_SECTIONS,
  type UnionSection,
} from "./spec-schema";

/** What the spec says at a path; undefined where it says nothing. */
export function valueAt(spec: Spec, path: string): unknown {
  let value: unknown = spec;
  for (const part of path.split(".")) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    value = (value as Spec)[part];
  }
  return value;
}

/** The kind of each section that has kinds: the spec's, else the default, else none (""). */
export function kindsIn(spec: Spec): KindOf {
  return Object.fromEntries(
    UNION_SECTIONS.map((section) => {
      const said = valueAt(spec, `${section}.${kindsOf(section).key}`);
      return [section, typeof said === "string" ? said : (defaultKind(section) ?? "")];
    }),
  ) as KindOf;
}

/**
 * The text with another kind of a section. Fields that the new kind has as well stay; others go. So does `rho` where its
 * unit becomes another: the old number would mean something else.
 */
export function withKind(text: string, section: UnionSection, kind: string): string {
  const reading = readSpec(text);
  if (!reading.ok) return text;
  const before = kindsIn(reading.spec);
  if (before[section] === kind) return text;
  const known = new Map(fieldsOf({ ...before, [section]: kind }).map((field) => [field.path, field]));
  const dropped = fieldsOf(before).filter(({ path }) => {
    if (!path.startsWith(`${section}.`) || valueAt(reading.spec, path) === undefined) return false;
    return !known.has(path) || (path === "method.rho" && isLayerwise(known) !== isLayerwise(fieldsOf(before)));
  });
  return withFields(text, [
    [[section, kindsOf(section).key], kind],
    ...dropped.map(({ path }) => [path.split("."), undefined] as [Path, undefined]),
  ]);
}

function isLayerwise(fields: ReadonlyMap<string, Field> | readonly Field[]): boolean {
  const paths = fields instanceof Map ? [...fields.keys()] : (fields as readonly Field[]).map(({ path }) => path);
  return paths.includes("method.layerwise");
}

/** Fields of the spec that the schema does not have, as paths; what a free mapping holds is not looked at. */
export function unknownFields(spec: Spec): string[] {
  const kinds = kindsIn(spec);
  const known = fieldsOf(kinds);
  const names = new Set(["spec_version", ...UNION_SECTIONS.map((section) => `${section}.${kindsOf(section).key}`)]);
  const found: string[] = [];
  const look = (value: Spec, prefix: string) => {
    for (const [key, inner] of Object.entries(value)) {
      const path = prefix === "" ? key : `${prefix}.${key}`;
      if (names.has(path) || known.some((field) => field.path === path)) continue;
      const isSection = known.some((field) => field.path.startsWith(`${path}.`)) || isUnion(path);
      if (isSection && typeof inner === "object" && inner !== null) look(inner as Spec, path);
      else if (!isSection) found.push(path);
    }
  };
  look(spec, "");
  return found;
}

function isUnion(path: string): boolean {
  return (UNION_SECTIONS as readonly string[]).includes(path);
}
