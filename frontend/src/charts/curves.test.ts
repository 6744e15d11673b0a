import { describe, expect, test } from "vitest";
import { columnsOf, type DrawnCurve, drawn, extentOf, isPositive, nearestReading, readingsAt } from "./curves";

function curve(runId: string, xs: number[], values: (number | null)[]): DrawnCurve {
  return { runId, label: runId, place: 0, metric: 0, xs, values, shown: values };
}

const long = curve("long", [0, 10, 20, 30], [4, 3, null, 1]);
const short = curve("short", [5, 15], [5, 2]);

test("extentOf spans all curves and is null without points", () => {
  expect(extentOf([short, long])).toEqual([0, 30]);
  expect(extentOf([curve("none", [], [])])).toBeNull();
});

test("drawn keeps the raw values beside the smoothed ones", () => {
  const [line] = drawn([curve("a", [0, 1], [8, 2])], 0.25, 200);
  expect(line?.values).toEqual([8, 2]);
  expect(line?.shown).toEqual([8, 4]);
});

test("isPositive refuses zero and negative values, not gaps", () => {
  expect(isPositive([long])).toBe(true);
  expect(isPositive([curve("z", [0, 1], [1, 0])])).toBe(false);
});

test("columnsOf puts the raw lines behind, then the shown ones, on one x column", () => {
  const smooth = { ...short, shown: [5, 3] };
  expect(columnsOf([smooth], true, 0, 20)).toEqual([
    [0, 5, 15, 20],
    [undefined, 5, 2, undefined],
    [undefined, 5, 3, undefined],
  ]);
  expect(columnsOf([smooth], false, 5, 15)).toEqual([
    [5, 15],
    [5, 3],
  ]);
});

describe("readingsAt", () => {
  test("gives each curve's nearest point, highest first", () => {
    expect(readingsAt([long, short], 11, 0).map(({ curve: { runId }, x, shown }) => [runId, x, shown])).toEqual([
      ["long", 10, 3],
      ["short", 15, 2],
    ]);
  });

  test("passes over gaps", () => expect(readingsAt([long], 21, 0)[0]).toMatchObject({ x: 30, shown: 1 }));

  test("leaves out curves that do not reach there, but for the slack", () => {
    expect(readingsAt([short], 18, 2)).toEqual([]);
    expect(readingsAt([short], 17, 2)).toHaveLength(1);
  });
});

test("nearestReading takes the line next to the pointer, within reach", () => {
  const readings = readingsAt([long, short], 11, 0);
  const yOf = (value: number) => 100 - 10 * value;
  expect(nearestReading(readings, 72, yOf, 20)?.curve.runId).toBe("long");
  expect(nearestReading(readings, 79, yOf, 20)?.curve.runId).toBe("short");
  expect(nearestReading(readings, 140, yOf, 20)).toBeNull();
});
