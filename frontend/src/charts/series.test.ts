import { describe, expect, test } from "vitest";
import { alignOnStep, type Line, lastPoint, positiveOnly, spreadEdges, tableRows, toCsv } from "./series";

const training = { steps: [10, 20, 30], values: [2.0, null, 1.0], label: "training" };
const validation = { steps: [15, 30], values: [1.9, 1.2], label: 'the "other"' };

describe("alignOnStep", () => {
  test("joins on steps: undefined where a line has no point, null where it has a gap", () => {
    expect(alignOnStep([training, validation])).toEqual([
      [10, 15, 20, 30],
      [2.0, undefined, null, 1.0],
      [undefined, 1.9, undefined, 1.2],
    ]);
  });

  test("holds the range open without inventing points", () => {
    expect(alignOnStep([training], 0, 40)).toEqual([
      [0, 10, 20, 30, 40],
      [undefined, 2.0, null, 1.0, undefined],
    ]);
  });

  test("is empty without lines", () => expect(alignOnStep([])).toEqual([[]]));
});

describe("lastPoint", () => {
  test("skips a gap at the end", () =>
    expect(lastPoint({ steps: [1, 2], values: [3, null] })).toEqual({ step: 1, value: 3 }));
  test("is null without a finite value", () => expect(lastPoint({ steps: [1], values: [null] })).toBeNull());
});

test("spreadEdges gives two columns for each line that has a spread", () => {
  const line = { ...training, unit: "nat", role: "training" } as Line;
  const spread = { low: [1.5, null, 0.5], high: [2.5, null, 1.5] };
  expect(spreadEdges([line, { ...line, spread }])).toEqual([
    { steps: line.steps, values: spread.high },
    { steps: line.steps, values: spread.low },
  ]);
});

test("positiveOnly turns what has no logarithm into gaps, in the spread too", () => {
  const line = { ...training, values: [1, 0, -1], unit: "nat", role: "training" } as Line;
  const spread = { low: [0, -1, -2], high: [2, 1, 0] };
  expect(positiveOnly({ ...line, spread })).toMatchObject({
    values: [1, null, null],
    spread: { low: [null, null, null], high: [2, 1, null] },
  });
});

test("tableRows gives the newest rows first", () => {
  expect(tableRows([training, validation], 2)).toEqual([
    { step: 30, values: [1.0, 1.2] },
    { step: 20, values: [null, null] },
  ]);
});

test("toCsv keeps ascending order and quotes labels", () => {
  expect(toCsv([training, validation])).toBe('"step","training","the ""other"""\n10,2,\n15,,1.9\n20,,\n30,1,1.2');
});
