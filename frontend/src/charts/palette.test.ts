import { describe, expect, test } from "vitest";
import { DISTINCT_RUN_COLORS, runStyle, type Scheme } from "./palette";

const CARDS: Record<Scheme, string> = { light: "#ffffff", dark: "#171c21" };
const places = Array.from({ length: DISTINCT_RUN_COLORS }, (_, place) => place);

/** Machado et al. 2009, severity 1, on linear RGB. */
const SIGHTS: Record<string, number[][]> = {
  full: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

describe.each(["light", "dark"] as const)("run colours on a %s card", (scheme) => {
  const colors = places.map((place) => linear(runStyle(place, scheme).color));

  test("stand out by at least 3:1", () => {
    const card = luminance(linear(CARDS[scheme]));
    for (const color of colors) {
      const [low, high] = [luminance(color), card].sort((a, b) => a - b) as [number, number];
      expect((high + 0.05) / (low + 0.05)).toBeGreaterThanOrEqual(3);
    }
  });

  test.each(Object.keys(SIGHTS))("differ from each other with %s", (sight) => {
    const labs = colors.map((color) => lab(product(SIGHTS[sight] ?? [], color)));
    for (const a of places) for (const b of places.slice(0, a)) expect(distance(labs[a], labs[b])).toBeGreaterThan(7);
  });
});

test("the thirteenth run takes the first colour again, dashed", () => {
  expect(runStyle(DISTINCT_RUN_COLORS, "light").color).toBe(runStyle(0, "light").color);
  expect(runStyle(0, "light").dash).toEqual([]);
  expect(runStyle(DISTINCT_RUN_COLORS, "light").dash).not.toEqual([]);
});

test("two metrics of a run share its colour and differ by dash", () => {
  const [first, second] = [0, 1].map((metric) => runStyle(3, "dark", metric, 2));
  expect(first?.color).toBe(second?.color);
  expect(first?.dash).not.toEqual(second?.dash);
});

function linear(hex: string): number[] {
  return [1, 3, 5].map((at) => {
    const part = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
}

function product(matrix: number[][], vector: number[]): number[] {
  return matrix.map((row) => row.reduce((sum, weight, index) => sum + weight * (vector[index] ?? 0), 0));
}

function luminance(rgb: number[]): number {
  return product([[0.2126, 0.7152, 0.0722]], rgb)[0] ?? 0;
}

function lab(rgb: number[]): number[] {
  const bounded = rgb.map((part) => Math.min(1, Math.max(0, part)));
  const toXyz = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.072175],
    [0.0193339, 0.119192, 0.9503041],
  ];
  const white = [0.95047, 1, 1.08883];
  const [x = 0, y = 0, z = 0] = product(toXyz, bounded).map((part, index) => {
    const share = part / (white[index] ?? 1);
    return share > 216 / 24_389 ? Math.cbrt(share) : ((24_389 / 27) * share + 16) / 116;
  });
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** CIE76: coarser than CIEDE2000, which chose the colours, and enough to catch two that fall together. */
function distance(a: number[] = [], b: number[] = []): number {
  return Math.hypot(...a.map((part, index) => part - (b[index] ?? 0)));
}
