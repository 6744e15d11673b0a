export interface SpecDifference {
  /** With dots: "method.rho". */
  path: string;
  /** Undefined where the one spec lacks the field. */
  before: unknown;
  after: unknown;
}

/** The fields in which two specs differ, in the order of the second; lists are compared as a whole. */
export function specDifferences(before: Record<string, unknown>, after: Record<string, unknown>): SpecDifference[] {
  const old = leavesOf(before);
  const now = leavesOf(after);
  return [...new Set([...now.keys(), ...old.keys()])]
    .map((path) => ({ path, before: old.get(path), after: now.get(path) }))
    .filter((field) => JSON.stringify(field.before) !== JSON.stringify(field.after));
}

/** Every value of a spec by its path; an empty mapping is a value. */
function leavesOf(spec: Record<string, unknown>): Map<string, unknown> {
  const found = new Map<string, unknown>();
  const walk = (value: unknown, path: string) => {
    const isMapping = typeof value === "object" && value !== null && !Array.isArray(value);
    if (!isMapping || Object.keys(value).length === 0) found.set(path, value);
    else for (const [key, inner] of Object.entries(value)) walk(inner, path === "" ? key : `${path}.${key}`);
  };
  for (const [key, value] of Object.entries(spec)) walk(value, key);
  return found;
}
