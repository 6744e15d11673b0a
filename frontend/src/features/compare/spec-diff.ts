import { inReadingOrder } from "@/run/spec-order";

/** A path of the specs and its value in each run, in the order of the runs; undefined where a spec lacks it. */
export interface SpecRow {
  /** As in `method.rho`. */
  path: string;
  values: (string | undefined)[];
  /** Whether all runs have the same. */
  equal: boolean;
}

/** The specs side by side, a row a path, in reading order. Lists are one value. */
export function specRows(specs: readonly Record<string, unknown>[]): SpecRow[] {
  const flat = specs.map((spec) => flattened(inReadingOrder(spec)));
  return mergedPaths(flat.map((paths) => [...paths.keys()])).map((path) => {
    const values = flat.map((paths) => paths.get(path));
    return { path, values, equal: values.every((value) => value === values[0]) };
  });
}

/** `{method: {rho: 0.05}}` as `method.rho` -> `0.05`; an empty section is a value of its own. */
export function flattened(section: Record<string, unknown>, prefix = ""): Map<string, string> {
  const paths = new Map<string, string>();
  for (const [key, value] of Object.entries(section)) {
    const path = prefix + key;
    if (isSection(value) && Object.keys(value).length > 0) {
      for (const [inner, text] of flattened(value, `${path}.`)) paths.set(inner, text);
    } else {
      paths.set(path, textOf(value));
    }
  }
  return paths;
}

/** All paths once; one that only a later spec has stands behind its neighbour there. */
function mergedPaths(lists: readonly string[][]): string[] {
  const merged: string[] = [];
  for (const list of lists) {
    let place = 0;
    for (const path of list) {
      const known = merged.indexOf(path);
      if (known >= 0) {
        place = known + 1;
      } else {
        merged.splice(place, 0, path);
        place += 1;
      }
    }
  }
  return merged;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
