import { describe, expect, test } from "vitest";
import { smoothed } from "./smoothing";

describe("smoothed", () => {
  test("by hand: weight 0.25 halves the influence with each 200th of the range", () => {
    // sqrt(0.25) = 0.5. At x=2 the point at x=0 has 0.5^2 and the one at x=1 has 0.5.
    const [first, second, third] = smoothed([0, 1, 2], [8, 2, 5], 0.25, 200);
    expect(first).toBe(8);
    expect(second).toBeCloseTo((0.5 * 8 + 2) / 1.5, 12);
    expect(third).toBeCloseTo((0.25 * 8 + 0.5 * 2 + 5) / 1.75, 12);
  });

  test("0 changes nothing, and a constant stays what it is at any weight", () => {
    expect(smoothed([0, 1, 2], [3, 1, 2], 0, 2)).toEqual([3, 1, 2]);
    for (const value of smoothed([0, 5, 9], [4, 4, 4], 0.99, 9)) expect(value).toBeCloseTo(4, 12);
  });

  test("gaps stay gaps; what follows is averaged over the gap's width", () => {
    const [first, gap, third] = smoothed([0, 1, 2], [8, null, 5], 0.25, 200);
    expect([first, gap]).toEqual([8, null]);
    expect(third).toBeCloseTo((0.25 * 8 + 5) / 1.25, 12);
  });

  test("the unit of x does not matter", () => {
    const xs = [0, 3, 4, 10];
    const values = [1, 5, 2, 7];
    const plain = smoothed(xs, values, 0.9, 10);
    const scaled = smoothed(
      xs.map((x) => 3600 * x),
      values,
      0.9,
      36_000,
    );
    scaled.forEach((value, index) => {
      expect(value).toBeCloseTo(plain[index] as number, 9);
    });
  });

  test("values scale and shift with their unit", () => {
    const xs = [0, 1, 2, 3];
    const values = [2, 9, 4, 6];
    const plain = smoothed(xs, values, 0.8, 3);
    smoothed(
      xs,
      values.map((value) => 100 * value - 7),
      0.8,
      3,
    ).forEach((value, index) => {
      expect(value).toBeCloseTo(100 * (plain[index] as number) - 7, 9);
    });
  });

  test("a curve reported ten times as often is smoothed alike", () => {
    const at = (x: number) => 1 + x / 1000;
    const sample = (every: number) => Array.from({ length: 1000 / every + 1 }, (_, index) => index * every);
    const rare = smoothed(sample(10), sample(10).map(at), 0.98, 1000).at(-1) as number;
    const dense = smoothed(sample(1), sample(1).map(at), 0.98, 1000).at(-1) as number;
    expect(at(1000) - dense).toBeGreaterThan(0.05);
    expect(Math.abs(rare - dense)).toBeLessThan(0.006);
  });
});
