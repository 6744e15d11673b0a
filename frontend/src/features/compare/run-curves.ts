import type { MetricColumns, MetricInfo } from "@/api/types";
import type { RunCurve } from "@/charts/curves";
import { alongAxis, alongSteps, type Curve, X_AXES, type XKind } from "@/charts/x-axis";

/** A run whose lines are drawn. */
export interface CurveRun {
  id: string;
  name: string;
  place: number;
  columns: MetricColumns | undefined;
}

/** The lines of a chart: each run that has the metric, metric by metric. */
export function curvesOf(runs: readonly CurveRun[], metrics: readonly MetricInfo[], x: XKind): RunCurve[] {
  return metrics.flatMap((metric, place) =>
    runs.flatMap((run) => {
      const curve = run.columns && curveOf(run.columns, metric.name, x);
      if (!curve || curve.xs.length === 0) return [];
      const label = metrics.length > 1 ? `${run.name} · ${metric.group}` : run.name;
      return [{ ...curve, runId: run.id, label, place: run.place, metric: place }];
    }),
  );
}

/** Joined once for each answer of the API: what a live run adds to one does not join the others anew. */
const joined = new WeakMap<MetricColumns, Map<string, Curve>>();

export function curveOf(columns: MetricColumns, metric: string, x: XKind): Curve {
  const known = joined.get(columns) ?? new Map<string, Curve>();
  joined.set(columns, known);
  const key = `${metric} ${x}`;
  const curve = known.get(key) ?? join(columns, metric, x);
  known.set(key, curve);
  return curve;
}

function join(columns: MetricColumns, metric: string, x: XKind): Curve {
  const series = columns.series.find(({ name }) => name === metric);
  if (!series) return { xs: [], values: [] };
  const axisMetric = X_AXES[x].metric;
  if (axisMetric === null) return alongSteps(series);
  const axis = columns.series.find(({ name }) => name === axisMetric);
  return axis ? alongAxis(series, axis) : { xs: [], values: [] };
}

/** Whether two charts' lines are the same, so that one need not be drawn anew. */
export function sameCurves(before: readonly RunCurve[], after: readonly RunCurve[]): boolean {
  return (
    before.length === after.length &&
    before.every((curve, index) => {
      const other = after[index];
      return (
        curve.xs === other?.xs &&
        curve.values === other.values &&
        curve.runId === other.runId &&
        curve.label === other.label &&
        curve.place === other.place &&
        curve.metric === other.metric
      );
    })
  );
}
