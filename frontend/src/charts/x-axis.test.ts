import { describe, expect, test } from "vitest";
import { alongAxis, alongSteps, isXKind } from "./x-axis";

const evaluations = { steps: [10, 20, 40], values: [12, 24, 64] };

describe("alongAxis", () => {
  test("takes the axis's value where it was reported, and between reports a share of the way", () => {
    const loss = { steps: [10, 15, 20, 25], values: [4, 3, 2, 1] };
    expect(alongAxis(loss, evaluations)).toEqual({ xs: [12, 18, 24, 34], values: [4, 3, 2, 1] });
  });

  test("starts from 0 at step 0", () => {
    expect(alongAxis({ steps: [0, 5], values: [9, 8] }, evaluations)).toEqual({ xs: [0, 6], values: [9, 8] });
  });

  test("leaves out what lies after the last report", () => {
    expect(alongAxis({ steps: [40, 41], values: [2, 1] }, evaluations)).toEqual({ xs: [64], values: [2] });
  });

  test("keeps gaps", () => {
    expect(alongAxis({ steps: [10, 20], values: [null, 1] }, evaluations)).toEqual({ xs: [12, 24], values: [null, 1] });
  });

  test("passes over reports that are not finite or fall back, so that x never descends", () => {
    const clock = { steps: [10, 20, 30, 40], values: [10, null, 5, 40] };
    expect(alongAxis({ steps: [10, 20, 30, 40], values: [1, 2, 3, 4] }, clock).xs).toEqual([10, 20, 30, 40]);
  });

  test("is empty without reports", () => {
    expect(alongAxis({ steps: [1], values: [1] }, { steps: [], values: [] })).toEqual({ xs: [], values: [] });
  });
});

test("alongSteps keeps the columns", () => {
  expect(alongSteps(evaluations)).toEqual({ xs: [10, 20, 40], values: [12, 24, 64] });
});

test("isXKind knows its words and nothing of Object's", () => {
  expect(isXKind("seconds")).toBe(true);
  expect(isXKind("toString")).toBe(false);
  expect(isXKind(3)).toBe(false);
});
