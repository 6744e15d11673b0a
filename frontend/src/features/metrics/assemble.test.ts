import { describe, expect, test } from "vitest";
import type { MetricColumns, MetricInfo } from "@/api/types";
import { isShown, linesOf, restartMarkers, stepRange } from "./assemble";
import { CHARTED_METRICS, type ChartDefinition, SIGNALS } from "./chart-definitions";

const chart: ChartDefinition = {
  title: "Loss",
  description: "",
  lines: [
    { metric: "train_loss", label: "training", role: "training" },
    { metric: "validation_loss", label: "validation", role: "validation", dots: true },
  ],
};
const columns = {
  run_id: "r",
  series: [{ name: "train_loss", steps: [5, 10], values: [2, null], minima: null, maxima: null, bucket_steps: 1 }],
} as MetricColumns;
const catalogue = [{ name: "train_loss", unit: "nat" }] as MetricInfo[];

test("linesOf joins definition, points and unit; what has no points yet is an empty line", () => {
  expect(linesOf(chart, columns, catalogue)).toEqual([
    { label: "training", role: "training", dots: undefined, unit: "nat", steps: [5, 10], values: [2, null] },
    { label: "validation", role: "validation", dots: true, unit: "1", steps: [], values: [] },
  ]);
});

describe("isShown", () => {
  const empty = linesOf(chart, { run_id: "r", series: [] }, []);
  test("shows what every method reports", () => expect(isShown(chart, empty, "none")).toBe(true));
  test("hides another method's signals", () =>
    expect(isShown({ ...chart, methods: ["sam"] }, empty, "none")).toBe(false));
  test("shows them where there are points all the same", () =>
    expect(isShown({ ...chart, methods: ["sam"] }, linesOf(chart, columns, []), "new-method")).toBe(true));
});

test("stepRange covers all series and is never empty", () => {
  expect(stepRange(columns)).toEqual([0, 10]);
  expect(stepRange({ run_id: "r", series: [] })).toEqual([0, 1]);
});

test("restartMarkers mark where later attempts resumed, from the start included", () => {
  const attempts = [
    { number: 1, resume_step: null },
    { number: 2, resume_step: 100 },
    { number: 3, resume_step: null },
    { number: 4, resume_step: 0 },
  ];
  expect(restartMarkers(attempts)).toEqual([
    { step: 100, label: "attempt 2" },
    { step: 0, label: "attempt 4" },
  ]);
});

test("a metric is asked for once, and every signal says what good looks like", () => {
  expect(new Set(CHARTED_METRICS).size).toBe(CHARTED_METRICS.length);
  for (const { title, good } of SIGNALS.charts)
    expect([title, good]).toEqual([title, expect.stringMatching(/^Good is /)]);
});

test("signals are shown for the methods that have them", () => {
  const shown = (method: string) =>
    SIGNALS.charts.filter((signal) => isShown(signal, linesOf(signal, { run_id: "r", series: [] }, []), method)).length;
  expect(["none", "sam", "layersam", "looksam", "look_layersam"].map(shown)).toEqual([0, 4, 4, 7, 7]);
});
