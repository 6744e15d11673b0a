import schemas from "virtual:spec-schema";

/** The parts of JSON Schema that the spec's schema uses. */
interface JsonSchema {
  $ref?: string;
  type?: string;
  const?: unknown;
  enum?: string[];
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  discriminator?: { propertyName: string; mapping: Record<string, string> };
  properties?: Record<string, JsonSchema>;
  required?: string[];
  prefixItems?: JsonSchema[];
  description?: string;
  default?: unknown;
  examples?: unknown[];
}

/** What a person enters: decides the control. */
export type FieldInput =
  | { kind: "number"; integer: boolean }
  | { kind: "choice"; options: readonly string[] }
  /** One of a few words, or a number instead. */
  | { kind: "number-or-choice"; options: readonly string[] }
  | { kind: "flag" }
  | { kind: "numbers"; length: number }
  | { kind: "text" }
  | { kind: "mapping" };

export interface Field {
  /** As in the spec, with dots: "method.rho". */
  path: string;
  input: FieldInput;
  /** The schema's own words; "" where it has none. */
  description: string;
  /** What counts where the spec says nothing; undefined where it must. */
  default: unknown;
  required: boolean;
  example: string | undefined;
}

/** A section that comes in kinds, each with fields of its own. */
export interface Kinds {
  /** The field that says which: "name" or "source". */
  key: string;
  names: readonly string[];
}

export const UNION_SECTIONS = ["data", "optimizer", "method"] as const;
export type UnionSection = (typeof UNION_SECTIONS)[number];
export type KindOf = Record<UnionSection, string>;

/** The kinds of a section, in the schema's order. */
export function kindsOf(section: UnionSection): Kinds {
  const { discriminator, oneOf = [] } = sectionSchema(section);
  if (!discriminator) throw new Error(`the schema of ${section} has no discriminator`);
  const byRef = new Map(Object.entries(discriminator.mapping).map(([name, ref]) => [ref, name]));
  return { key: discriminator.propertyName, names: oneOf.map(({ $ref = "" }) => byRef.get($ref) ?? $ref) };
}

/** What the schema says of a kind in one sentence. */
export function kindDescription(section: UnionSection, kind: string): string {
  return tidy(kindSchema(section, kind)?.description);
}

/** The kind that counts where the spec names none. */
export function defaultKind(section: UnionSection): string | undefined {
  const given = sectionSchema(section).default as Record<string, unknown> | undefined;
  const kind = given?.[kindsOf(section).key];
  return typeof kind === "string" ? kind : undefined;
}

/** Every field of a spec whose sections are of these kinds, in the schema's order; a kind itself is not among them. */
export function fieldsOf(kinds: KindOf): Field[] {
  return Object.entries(root().properties ?? {}).flatMap(([name, schema]) => {
    const isUnion = (UNION_SECTIONS as readonly string[]).includes(name);
    if (!isUnion) return leaves(name, schema, isRequired(root(), name));
    const section = name as UnionSection;
    const kind = kindSchema(section, kinds[section]);
    return kind ? objectLeaves(name, kind, kindsOf(section).key) : [];
  });
}

function leaves(path: string, schema: JsonSchema, required: boolean): Field[] {
  const resolved = resolve(schema);
  if (resolved.properties) return objectLeaves(path, resolved);
  if (schema.const !== undefined) return [];
  const field = {
    path,
    input: inputOf(schema),
    description: tidy(schema.description),
    // An OpenAPI document leaves out a default of null.
    default: schema.default ?? (isNullable(schema) ? null : undefined),
    required,
    example: schema.examples?.[0] === undefined ? undefined : exampleText(schema.examples[0]),
  };
  return [field];
}

function objectLeaves(path: string, schema: JsonSchema, without?: string): Field[] {
  return Object.entries(schema.properties ?? {})
    .filter(([name]) => name !== without)
    .flatMap(([name, inner]) => leaves(`${path}.${name}`, inner, isRequired(schema, name)));
}

function inputOf(schema: JsonSchema): FieldInput {
  const options = (schema.anyOf ?? [schema]).filter(({ type }) => type !== "null").map(resolve);
  const words = options.map(wordsOf).find((found) => found.length > 0);
  const number = options.find(({ type }) => type === "number" || type === "integer");
  if (words && number) return { kind: "number-or-choice", options: words };
  if (words) return { kind: "choice", options: words };
  if (number) return { kind: "number", integer: number.type === "integer" };
  const [only] = options;
  if (only?.type === "boolean") return { kind: "flag" };
  if (only?.type === "array") return { kind: "numbers", length: only.prefixItems?.length ?? 1 };
  return { kind: only?.type === "object" ? "mapping" : "text" };
}

/** What may be chosen; a single word comes as a constant. */
function wordsOf(schema: JsonSchema): string[] {
  return schema.enum ?? (typeof schema.const === "string" ? [schema.const] : []);
}

function sectionSchema(section: UnionSection): JsonSchema {
  return root().properties?.[section] ?? {};
}

function kindSchema(section: UnionSection, kind: string): JsonSchema | undefined {
  const $ref = sectionSchema(section).discriminator?.mapping[kind];
  return $ref ? resolve({ $ref }) : undefined;
}

function root(): JsonSchema {
  return schemas.TrainingSpec as JsonSchema;
}

function resolve(schema: JsonSchema): JsonSchema {
  if (!schema.$ref) return schema;
  return (schemas[schema.$ref.split("/").at(-1) ?? ""] ?? {}) as JsonSchema;
}

function isNullable(schema: JsonSchema): boolean {
  return schema.anyOf?.some(({ type }) => type === "null") ?? false;
}

function isRequired(schema: JsonSchema, name: string): boolean {
  return schema.required?.includes(name) ?? false;
}

function tidy(description: string | undefined): string {
  return (description ?? "").replace(/\s+/g, " ").trim();
}

function exampleText(example: unknown): string {
  if (typeof example !== "object" || example === null) return String(example);
  return Object.entries(example)
    .map(([key, value]) => `${key}: ${value}`)
    .join("\n");
}

/** What the schema says of a field of the submission beside the spec ("study"). */
export function submissionDescription(name: string): string {
  return tidy((schemas.Submission as JsonSchema).properties?.[name]?.description);
}
