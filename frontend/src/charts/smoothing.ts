/** Distances are measured in parts of the chart's x range. */
const RANGE_UNITS = 200;
const MOST_DECAY = 0.999;

/**
 * Time-weighted exponential moving average, debiased: the mean of all points up to x, each weighted by
 * sqrt(weight)^(its distance from x), where the whole x range of the chart is 200 long. As the distance on the axis
 * decays and not the number of points, runs that reported more or less often are smoothed alike. The form is that of
 * W&B (https://docs.wandb.ai/guides/app/features/panels/line-plot/smoothing) with a shorter range: 1,000 as there would
 * leave a run of a hundred points nearly as it is.
 *
 * `weight` in [0, 1): 0 changes nothing. Gaps stay gaps and weigh nothing. `xs` ascends; `range` is in the units of `xs`.
 */
export function smoothed(
  xs: readonly number[],
  values: readonly (number | null)[],
  weight: number,
  range: number,
): (number | null)[] {
  if (weight <= 0 || !(range > 0)) return [...values];
  const decay = Math.min(Math.sqrt(weight), MOST_DECAY);
  let sum = 0;
  let mass = 0;
  let last: number | null = null;
  return values.map((value, index) => {
    const x = xs[index];
    if (value === null || x === undefined) return null;
    const kept = last === null ? 0 : decay ** (((x - last) / range) * RANGE_UNITS);
    sum = sum * kept + value;
    mass = mass * kept + 1;
    last = x;
    return sum / mass;
  });
}
