import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { describeError } from "@/api/client";
import { catalogueQuery, metricsQuery } from "@/api/metrics";
import type { Attempt, MetricColumns } from "@/api/types";
import { ChartCard } from "@/charts/chart-card";
import type { Marker } from "@/charts/series";
import { MathText } from "@/components/math-text";
import { Failure, Loading } from "@/components/state-messages";
import { isShown, linesOf, restartMarkers, stepRange } from "../assemble";
import { CHARTED_METRICS, type ChartDefinition, type ChartSection, SECTIONS } from "../chart-definitions";
import classes from "./run-charts.module.css";

interface RunChartsProps {
  runId: string;
  method: string;
  attempts: readonly Attempt[];
  /** Whether points may still come. */
  live: boolean;
  /** Absent: all that every method has. */
  sections?: readonly ChartSection[];
}

/** Charts of a run, section by section, with one cursor and one zoom. */
export function RunCharts({ runId, method, attempts, live, sections = SECTIONS }: RunChartsProps) {
  const metrics = useQuery(metricsQuery(runId, CHARTED_METRICS));
  const markers = useMemo(() => restartMarkers(attempts), [attempts]);
  if (metrics.isPending) return <Loading label="Loading the metrics" />;
  if (!metrics.data) return <Failure {...describeError(metrics.error)} onRetry={() => metrics.refetch()} />;
  if (metrics.data.series.every(({ steps }) => steps.length === 0)) {
    return <p className={classes.none}>{live ? "Charts appear with the first steps." : "This run has no metrics."}</p>;
  }
  return sections.map(({ title, charts }) => (
    <ChartGrid key={title} title={title} charts={charts} {...{ columns: metrics.data, markers, method, live }} />
  ));
}

interface ChartGridProps {
  title: string;
  charts: readonly ChartDefinition[];
  columns: MetricColumns;
  markers: readonly Marker[];
  method: string;
  live: boolean;
}

function ChartGrid({ title, charts, columns, markers, method, live }: ChartGridProps) {
  const { data: catalogue = [] } = useQuery(catalogueQuery);
  const range = stepRange(columns);
  const shown = charts
    .map((chart) => ({ chart, lines: linesOf(chart, columns, catalogue) }))
    .filter(({ chart, lines }) => isShown(chart, lines, method));
  if (shown.length === 0) return null;
  return (
    <section aria-label={title}>
      <h2 className={classes.section}>{title}</h2>
      <div
        className={classes.grid}
        data-count={charts.length === 2 ? "two" : charts.length >= 6 ? "six-or-more" : "many"}
      >
        {shown.map(({ chart, lines }) => (
          <div key={chart.title} className={classes.cell}>
            <ChartCard
              title={chart.title}
              unit={lines[0]?.unit ?? "1"}
              description={chart.description}
              lines={lines}
              range={range}
              markers={markers}
              canBeLogarithmic={chart.canBeLogarithmic}
              zeroLine={chart.zeroLine}
              bounds={chart.bounds}
              height={charts.length === 2 ? 260 : charts.length >= 6 ? 210 : 180}
              emptyText={live ? "Waiting for the first point." : "This run has no points for it."}
            />
            {chart.good && (
              <p className={classes.good}>
                <MathText>{chart.good}</MathText>
              </p>
            )}
          </div>
        ))}
      </div>
    </section>
  );
}
