import { flattened } from "./spec-diff";

/** What a reader of the comparison should know before believing a number; of each run its spec. */
export function caveatsOf(runs: readonly Record<string, unknown>[]): string[] {
  if (runs.length < 2) return [];
  const specs = runs.map((spec) => flattened(spec));
  const caveats: string[] = [];
  if (differs(specs, (path) => path.startsWith("data."))) {
    caveats.push("These runs saw different data, so their losses and accuracies do not compare.");
  }
  const radii = specs.map((spec) => spec.get("evaluation.sharpness_radius")).filter((radius) => radius !== undefined);
  const measured = [...new Set(radii.filter((radius) => radius !== "null"))];
  if (measured.length > 1) {
    caveats.push(`Sharpness was measured at different radii (${measured.join(", ")}) and does not compare.`);
  }
  if (seedsAreSingle(specs)) {
    caveats.push(
      "One seed each: a difference here is a hint, not evidence. Repeat with other seeds before you believe it.",
    );
  }
  return caveats;
}

function differs(specs: readonly Map<string, string>[], concerns: (path: string) => boolean): boolean {
  const texts = specs.map((spec) => JSON.stringify([...spec].filter(([path]) => concerns(path)).sort()));
  return new Set(texts).size > 1;
}

/** Whether no setting was tried with two seeds. */
function seedsAreSingle(specs: readonly Map<string, string>[]): boolean {
  const seeds = new Map<string, Set<string>>();
  for (const spec of specs) {
    const setting = JSON.stringify([...spec].filter(([path]) => path !== "seed").sort());
    const tried = seeds.get(setting) ?? new Set();
    seeds.set(setting, tried.add(spec.get("seed") ?? ""));
  }
  return [...seeds.values()].every(({ size }) => size < 2);
}
