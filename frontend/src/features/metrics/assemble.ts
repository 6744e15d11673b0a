import type { MetricColumns, MetricInfo } from "@/api/types";
import type { Line, Marker } from "@/charts/series";
import type { ChartDefinition } from "./chart-definitions";

/** The lines of a chart from the API's columns; a metric that has no points yet is an empty line. */
export function linesOf(chart: ChartDefinition, columns: MetricColumns, catalogue: readonly MetricInfo[]): Line[] {
  return chart.lines.map(({ metric, label, role, dots }) => {
    const series = columns.series.find(({ name }) => name === metric);
    const unit = catalogue.find(({ name }) => name === metric)?.unit ?? "1";
    const { steps = [], values = [], minima, maxima } = series ?? {};
    return {
      label,
      role,
      dots,
      unit,
      steps,
      values,
      spread: minima && maxima ? { low: minima, high: maxima } : undefined,
    };
  });
}

/** Whether the chart belongs on the page: its method reports it, or there are points anyhow. */
export function isShown(chart: ChartDefinition, lines: readonly Line[], method: string): boolean {
  return !chart.methods || chart.methods.includes(method) || lines.some((line) => line.steps.length > 0);
}

/** First and last step of all charts of a page, so that they share one axis. */
export function stepRange(columns: MetricColumns): [number, number] {
  const last = Math.max(0, ...columns.series.map(({ steps }) => steps.at(-1) ?? 0));
  return [0, Math.max(1, last)];
}

/** Where later attempts took over. */
export function restartMarkers(attempts: readonly { number: number; resume_step: number | null }[]): Marker[] {
  return attempts
    .filter((attempt) => attempt.number > 1 && attempt.resume_step !== null)
    .map((attempt) => ({ step: attempt.resume_step ?? 0, label: `attempt ${attempt.number}` }));
}
