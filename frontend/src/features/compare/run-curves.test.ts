import { expect, test } from "vitest";
import type { MetricColumns, MetricInfo } from "@/api/types";
import { curvesOf, sameCurves } from "./run-curves";

const series = (name: string, steps: number[], values: number[]) => ({ name, steps, values });
const columns = {
  run_id: "a",
  series: [
    series("train_loss", [10, 20], [2, 1]),
    series("validation_loss", [20], [1.5]),
    series("gradient_evaluations", [10, 20], [20, 40]),
  ],
} as unknown as MetricColumns;
const metrics = [
  { name: "train_loss", group: "training" },
  { name: "validation_loss", group: "validation" },
] as MetricInfo[];
const run = { id: "a", name: "SAM", place: 3, columns };

test("each run's metric becomes a line along the axis, with the run's place and the metric's", () => {
  expect(curvesOf([run], metrics, "gradient_evaluations")).toEqual([
    { runId: "a", label: "SAM · training", place: 3, metric: 0, xs: [20, 40], values: [2, 1] },
    { runId: "a", label: "SAM · validation", place: 3, metric: 1, xs: [40], values: [1.5] },
  ]);
});

test("runs without the metric, without the axis or not loaded yet draw nothing", () => {
  expect(curvesOf([{ ...run, columns: undefined }], metrics, "step")).toEqual([]);
  expect(curvesOf([run], [{ name: "alpha" } as MetricInfo], "step")).toEqual([]);
  expect(curvesOf([run], metrics, "epoch")).toEqual([]);
});

test("the same answer gives the same lines, another one does not", () => {
  expect(sameCurves(curvesOf([run], metrics, "step"), curvesOf([run], metrics, "step"))).toBe(true);
  const grown = { ...run, columns: { ...columns } };
  expect(sameCurves(curvesOf([run], metrics, "step"), curvesOf([grown], metrics, "step"))).toBe(false);
});
