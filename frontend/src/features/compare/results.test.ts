import { describe, expect, test } from "vitest";
import type { Run } from "@/api/types";
import { bestMarks, columnsOf, deltaTo, nextSort, sortedRuns } from "./results";

describe("bestMarks", () => {
  test("marks the best by the metric's direction, ties together", () => {
    expect(bestMarks([90, 93, null, 93], "higher")).toEqual([false, true, false, true]);
    expect(bestMarks([0.4, 0.2, 0.3], "lower")).toEqual([false, true, false]);
  });

  test("marks nothing where nothing is better", () => {
    expect(bestMarks([1, 2], "none")).toEqual([false, false]);
    expect(bestMarks([2, 2], "lower")).toEqual([false, false]);
    expect(bestMarks([2, null], "lower")).toEqual([false, false]);
    expect(bestMarks([null, null], "higher")).toEqual([false, false]);
  });
});

test("columnsOf shows what is measured on request only where a run has it", () => {
  const run = (...metrics: string[]) => ({
    run: { latest: Object.fromEntries(metrics.map((name) => [name, { step: 1, value: 0, best: 0, best_step: 1 }])) },
  });
  expect(columnsOf([run("validation_top1")])).not.toContain("sharpness");
  expect(columnsOf([run("validation_top1"), run("sharpness")])).toContain("sharpness");
  expect(columnsOf([run("sharpness")])).not.toContain("hessian_top_eigenvalue");
  expect(columnsOf([])).toContain("validation_top1");
});

test("deltaTo says by how much and whether that is good", () => {
  expect(deltaTo(3, 2, "higher")).toEqual({ by: 1, better: true });
  expect(deltaTo(3, 2, "lower")).toEqual({ by: 1, better: false });
  expect(deltaTo(3, 2, "none")).toEqual({ by: 1, better: null });
  expect(deltaTo(2, 2, "lower")).toEqual({ by: 0, better: null });
  expect(deltaTo(null, 2, "lower")).toBeNull();
});

describe("sortedRuns", () => {
  const run = (name: string, value: number | null) => ({
    name,
    latest: (value === null ? {} : { sharpness: { step: 1, value, best: value, best_step: 1 } }) as Run["latest"],
  });
  const runs = [run("b", 2), run("none", null), run("a", 1), run("c", 2)];
  const names = (sort?: string) => sortedRuns(runs, sort).map(({ name }) => name);

  test("both ways, without a number last, ties in their order", () => {
    expect(names("sharpness")).toEqual(["a", "b", "c", "none"]);
    expect(names("-sharpness")).toEqual(["b", "c", "a", "none"]);
  });
  test("by name, and unsorted", () => {
    expect(names("name")).toEqual(["a", "b", "c", "none"]);
    expect(names()).toEqual(["b", "none", "a", "c"]);
  });
});

test("nextSort goes best first, then back, then off", () => {
  expect(nextSort(undefined, "top1", "higher")).toBe("-top1");
  expect(nextSort("-top1", "top1", "higher")).toBe("top1");
  expect(nextSort("top1", "top1", "higher")).toBeUndefined();
  expect(nextSort("name", "loss", "lower")).toBe("loss");
});
