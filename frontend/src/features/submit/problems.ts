import type { SpecProblem } from "@/api/types";
import { isWithin } from "./form-layout";

/** Problems beside their fields, and those that no field of the form has. */
export interface PlacedProblems {
  byField: ReadonlyMap<string, SpecProblem[]>;
  elsewhere: readonly SpecProblem[];
}

/** Sorts the API's problems by the form's fields: "spec.optimizer.betas.1" belongs to "optimizer.betas". */
export function placeProblems(problems: readonly SpecProblem[], fields: readonly string[]): PlacedProblems {
  const byField = new Map<string, SpecProblem[]>();
  const elsewhere: SpecProblem[] = [];
  for (const problem of problems) {
    const path = specPath(problem.path) ?? problem.path;
    const field = fields.filter((name) => isWithin(path, name)).sort((a, b) => b.length - a.length)[0];
    if (field === undefined) elsewhere.push(problem);
    else byField.set(field, [...(byField.get(field) ?? []), problem]);
  }
  return { byField, elsewhere };
}

/** The path within the spec, or null for what the submission says beside it ("name", "study"). */
export function specPath(path: string): string | null {
  if (path === "spec") return "";
  return path.startsWith("spec.") ? path.slice("spec.".length) : null;
}

/** As it stands under a field: what is allowed and what to do. */
export function problemSentence({ allowed, remedy }: SpecProblem): string {
  const said = allowed.charAt(0).toUpperCase() + allowed.slice(1);
  return remedy === "" ? `${said}.` : `${said}. ${remedy.replace(/\.$/, "")}.`;
}
