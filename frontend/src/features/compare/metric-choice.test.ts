import { expect, test } from "vitest";
import type { MetricInfo, Run } from "@/api/types";
import { chartGroups, chosenMetrics, defaultMetrics, metricTitle } from "./metric-choice";

const catalogue = ["train_loss", "validation_loss", "validation_top1", "loss_rise", "alpha"].map(
  (name) => ({ name, title: name }) as MetricInfo,
);
const plain = { latest: { train_loss: {} } } as unknown as Run;
const sam = { latest: { train_loss: {}, loss_rise: {} } } as unknown as Run;
const names = (metrics: readonly MetricInfo[]) => metrics.map(({ name }) => name);

test("signals are shown when any run has them", () => {
  expect(defaultMetrics([plain])).toEqual(["train_loss", "validation_loss", "validation_top1"]);
  expect(defaultMetrics([plain, sam])).toContain("loss_rise");
});

test("what the address asks for replaces the defaults, in the catalogue's order, without strangers", () => {
  expect(names(chosenMetrics(["alpha", "nonsense", "train_loss"], [sam], catalogue))).toEqual(["train_loss", "alpha"]);
  expect(names(chosenMetrics([], [plain], catalogue))).toEqual(["train_loss", "validation_loss", "validation_top1"]);
});

test("paired, training and validation of a quantity share a chart", () => {
  const chosen = chosenMetrics([], [plain], catalogue);
  expect(chartGroups(chosen, false).map(names)).toEqual([["train_loss"], ["validation_loss"], ["validation_top1"]]);
  expect(chartGroups(chosen, true).map(names)).toEqual([["train_loss", "validation_loss"], ["validation_top1"]]);
});

test("metricTitle writes norms and perturbations", () => {
  expect(metricTitle({ title: "Loss rise L(w+eps)-L(w)" })).toBe("Loss rise L(w+ε) − L(w)");
  expect(metricTitle({ title: "||g_v||/||g||" })).toBe("‖g_v‖/‖g‖");
});
