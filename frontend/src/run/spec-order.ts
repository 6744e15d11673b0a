/** Sections as a person would write them; what is not named here comes last, as it is stored. */
export const READING_ORDER: readonly string[] = [
  "spec_version",
  "model",
  "data",
  "optimizer",
  "method",
  "schedule",
  "global_batch_size",
  "micro_batch_size",
  "precision",
  "epochs",
  "steps",
  "seed",
  "evaluation",
  "checkpoint",
  "logging",
  "resources",
];
/** What says which kind a section is stands first in it. */
const KIND_KEYS = ["name", "source"];

/** The same spec with its keys in reading order: the database keeps them sorted by length. */
export function inReadingOrder(spec: Record<string, unknown>): Record<string, unknown> {
  const sections = sortKeys(spec, READING_ORDER);
  return Object.fromEntries(
    Object.entries(sections).map(([key, value]) => [key, isSection(value) ? sortKeys(value, KIND_KEYS) : value]),
  );
}

function sortKeys(section: Record<string, unknown>, order: readonly string[]): Record<string, unknown> {
  const place = (key: string) => (order.includes(key) ? order.indexOf(key) : order.length);
  return Object.fromEntries(Object.entries(section).sort(([a], [b]) => place(a) - place(b)));
}

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
