import { type Aligned, alignOnX } from "./series";
import { smoothed } from "./smoothing";
import type { Curve } from "./x-axis";

/** A line of a chart over several runs. */
export interface RunCurve extends Curve {
  runId: string;
  /** The run's name, with the metric's where the chart has several. */
  label: string;
  /** The run's place among the compared, from 0: decides the colour. */
  place: number;
  /** Which of the chart's metrics, from 0: decides the dash. */
  metric: number;
}

/** A curve as it is drawn: `values` as they are, `shown` after smoothing. */
export interface DrawnCurve extends RunCurve {
  shown: (number | null)[];
}

/** First and last x of all curves; null without a point. */
export function extentOf(curves: readonly Curve[]): [number, number] | null {
  let from = Number.POSITIVE_INFINITY;
  let to = Number.NEGATIVE_INFINITY;
  for (const { xs } of curves) {
    from = Math.min(from, xs[0] ?? from);
    to = Math.max(to, xs.at(-1) ?? to);
  }
  return from <= to ? [from, to] : null;
}

/** Smooths each curve over `range`, the x range of the page's charts, so that all are smoothed over equal distances. */
export function drawn(curves: readonly RunCurve[], weight: number, range: number): DrawnCurve[] {
  return curves.map((curve) => ({ ...curve, shown: smoothed(curve.xs, curve.values, weight, range) }));
}

/** Whether a logarithm of every finite value can be drawn. */
export function isPositive(curves: readonly Curve[]): boolean {
  return curves.every(({ values }) => values.every((value) => value === null || value > 0));
}

/** The columns of a chart: the drawn lines, and before them, where `withRaw`, the raw values behind each. */
export function columnsOf(curves: readonly DrawnCurve[], withRaw: boolean, from: number, to: number): Aligned {
  const raw = withRaw ? curves.map(({ xs, values }) => ({ xs, values })) : [];
  return alignOnX([...raw, ...curves.map(({ xs, shown }) => ({ xs, values: shown }))], from, to);
}

/** A curve's point that lies nearest to some x. */
export interface Reading {
  curve: DrawnCurve;
  x: number;
  shown: number;
  raw: number | null;
}

/** The nearest point of each curve that covers `x`, or ends within `slack` of it; highest value first. */
export function readingsAt(curves: readonly DrawnCurve[], x: number, slack: number): Reading[] {
  const readings = curves.flatMap((curve) => {
    const index = nearestIndex(curve, x);
    const at = curve.xs[index];
    const shown = curve.shown[index];
    if (at === undefined || shown === null || shown === undefined) return [];
    const first = curve.xs[0] ?? at;
    const last = curve.xs.at(-1) ?? at;
    if (x < first - slack || x > last + slack) return [];
    return [{ curve, x: at, shown, raw: curve.values[index] ?? null }];
  });
  return readings.sort((a, b) => b.shown - a.shown);
}

/** The index of the point with a value that is nearest to `x`; -1 without one. */
function nearestIndex(curve: DrawnCurve, x: number): number {
  const { xs, shown } = curve;
  let low = 0;
  let high = xs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((xs[middle] ?? 0) < x) low = middle + 1;
    else high = middle;
  }
  let before = low - 1;
  let after = low;
  while (before >= 0 && shown[before] === null) before--;
  while (after < xs.length && shown[after] === null) after++;
  if (after >= xs.length) return before;
  if (before < 0) return after;
  return x - (xs[before] ?? 0) <= (xs[after] ?? 0) - x ? before : after;
}

/** The reading whose line passes nearest to the pointer, at most `reach` pixels above or below it. */
export function nearestReading(
  readings: readonly Reading[],
  pointerTop: number,
  yOf: (value: number) => number,
  reach: number,
): Reading | null {
  let best: Reading | null = null;
  let least = reach;
  for (const reading of readings) {
    const gap = Math.abs(yOf(reading.shown) - pointerTop);
    if (gap <= least) {
      best = reading;
      least = gap;
    }
  }
  return best;
}
