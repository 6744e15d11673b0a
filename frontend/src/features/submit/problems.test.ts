import { expect, test } from "vitest";
import { placeProblems, problemSentence, specPath } from "./problems";

const problem = (path: string) => ({ path, value: "1", allowed: "must be < 1", remedy: "Change it" });

test("a problem goes to the field that holds it, others are kept apart", () => {
  const paths = ["spec.optimizer.betas.1", "spec.optimizer.lr", "spec.method.rhoo", "study", "spec"];
  const { byField, elsewhere } = placeProblems(paths.map(problem), ["optimizer.betas", "optimizer.lr", "study"]);
  expect([...byField.keys()]).toEqual(["optimizer.betas", "optimizer.lr", "study"]);
  expect(elsewhere.map(({ path }) => path)).toEqual(["spec.method.rhoo", "spec"]);
});

test("several problems of one field stay together, in order", () => {
  const { byField } = placeProblems([problem("spec.data.mean.0"), problem("spec.data.mean.2")], ["data.mean"]);
  expect(byField.get("data.mean")?.map(({ path }) => path)).toEqual(["spec.data.mean.0", "spec.data.mean.2"]);
});

test("paths are taken apart from the submission's own", () => {
  expect([specPath("spec.steps"), specPath("spec"), specPath("name"), specPath("specs.x")]).toEqual([
    "steps",
    "",
    null,
    null,
  ]);
});

test("a sentence begins large and ends with one full stop", () => {
  expect(problemSentence(problem("x"))).toBe("Must be < 1. Change it.");
  expect(problemSentence({ ...problem("x"), remedy: "" })).toBe("Must be < 1.");
});
