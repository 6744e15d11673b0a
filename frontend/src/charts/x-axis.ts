import { formatDuration } from "@/format/duration";
import { formatCount, formatValue } from "@/format/number";

/** What the x axis of charts can count, and the metric that says it; steps need none. */
export const X_AXES = {
  step: { label: "Step", metric: null, whole: true, format: formatCount },
  epoch: { label: "Epoch", metric: "epoch", whole: false, format: (value: number) => formatValue(value) },
  gradient_evaluations: {
    label: "Gradient evaluations",
    metric: "gradient_evaluations",
    whole: true,
    format: (value: number) => formatCount(Math.round(value)),
  },
  seconds: { label: "Seconds", metric: "seconds", whole: false, format: formatDuration },
} as const satisfies Record<
  string,
  { label: string; metric: string | null; whole: boolean; format: (value: number) => string }
>;

export type XKind = keyof typeof X_AXES;

export function isXKind(word: unknown): word is XKind {
  return typeof word === "string" && Object.hasOwn(X_AXES, word);
}

interface Points {
  steps: readonly number[];
  values: readonly (number | null)[];
}

/** A line of a chart: x ascends; null is a value that was not finite and leaves a gap. */
export interface Curve {
  xs: number[];
  values: (number | null)[];
}

/**
 * A metric against another one that grows with the steps, such as the gradient evaluations so far. Between the steps at
 * which the axis metric was reported it is interpolated linearly, before the first one from 0 at step 0, where all
 * of these begin. Points after the last report have no place on the axis yet and are left out.
 */
export function alongAxis(points: Points, axis: Points): Curve {
  const known = knotsOf(axis);
  const curve: Curve = { xs: [], values: [] };
  let right = 0;
  points.steps.forEach((step, index) => {
    while (right < known.length && (known[right]?.step ?? 0) < step) right++;
    const after = known[right];
    if (!after) return;
    const before = known[right - 1] ?? { step: 0, value: 0 };
    const width = after.step - before.step;
    const share = width > 0 ? (step - before.step) / width : 1;
    curve.xs.push(before.value + share * (after.value - before.value));
    curve.values.push(points.values[index] ?? null);
  });
  return curve;
}

/** A metric against the steps. */
export function alongSteps(points: Points): Curve {
  return { xs: [...points.steps], values: [...points.values] };
}

/** The finite reports; one that falls back (a clock of a resumed attempt) is passed over so that x ascends. */
function knotsOf(axis: Points): { step: number; value: number }[] {
  const knots: { step: number; value: number }[] = [];
  axis.steps.forEach((step, index) => {
    const value = axis.values[index];
    if (value === null || value === undefined || value < (knots.at(-1)?.value ?? 0)) return;
    knots.push({ step, value });
  });
  return knots;
}
