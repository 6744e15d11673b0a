import { useQuery } from "@tanstack/react-query";
import { memo, useDeferredValue } from "react";
import { catalogueQuery } from "@/api/metrics";
import type { MetricInfo, Run } from "@/api/types";
import { extentOf } from "@/charts/curves";
import { CurvesCard, type CurvesCardProps } from "@/charts/curves-card";
import { Loading } from "@/components/state-messages";
import { isLive } from "@/run/describe-run";
import { type ComparedRun, useColumns } from "../api/compared-runs";
import { type CompareSearch, wordsOf } from "../compare-search";
import { boundsOf, chartGroups, chosenMetrics, isSigned, metricTitle } from "../metric-choice";
import { curvesOf, sameCurves } from "../run-curves";
import classes from "./compare.module.css";

interface CompareChartsProps {
  search: CompareSearch;
  smoothing: number;
  compared: readonly ComparedRun[];
  /** Those that are drawn. */
  visible: readonly ComparedRun[];
}

/** A chart a metric (or a pair), all with one cursor and one zoom. */
export function CompareCharts({ search, smoothing, compared, visible }: CompareChartsProps) {
  const { data: catalogue = [] } = useQuery(catalogueQuery);
  const x = search.x ?? "step";
  const runs = compared.map(({ run }) => run);
  const metrics = chosenMetrics(wordsOf(search.metrics), runs, catalogue);
  const columns = useColumns(
    runs.map(({ id }) => id),
    metrics.map(({ name }) => name),
  );
  const weight = useDeferredValue(smoothing);
  const drawn = visible.map(({ run, place }) => {
    const own = columns.find((answer) => answer?.run_id === run.id);
    return { id: run.id, name: run.name, place, columns: own };
  });
  const charts = chartGroups(metrics, search.pair ?? false).map((group) => ({
    group,
    curves: curvesOf(drawn, group, x),
  }));
  const [from, to] = extentOf(charts.flatMap(({ curves }) => curves)) ?? [0, 1];
  if (columns.every((answer) => answer === undefined)) {
    return <Loading label="Loading the metrics" />;
  }
  const emptyText = whyEmpty(
    visible.map(({ run }) => run),
    drawn.some((run) => run.columns === undefined),
  );
  return (
    <div className={classes.charts}>
      {charts.map(({ group, curves }) => (
        <Chart
          key={group.map(({ name }) => name).join()}
          {...looksOf(group)}
          metrics={group.length > 1 ? group.map(metricTitle) : NO_NAMES}
          curves={curves}
          x={x}
          from={Math.min(0, from)}
          to={Math.max(to, from + Number.EPSILON)}
          smoothing={weight}
          logarithmic={search.log ?? false}
          emptyText={emptyText}
        />
      ))}
    </div>
  );
}

function whyEmpty(visible: readonly Run[], isLoading: boolean): string {
  if (visible.length === 0) return "All runs are hidden.";
  if (isLoading) return "Loading the points.";
  return visible.some(isLive) ? "Waiting for the first point." : "These runs have no points for it.";
}

const NO_NAMES: readonly string[] = [];

type ChartProps = Omit<CurvesCardProps, "range"> & { from: number; to: number };

/** Draws again only when its own lines changed, not when another chart's did. */
const Chart = memo(
  function Chart({ from, to, ...rest }: ChartProps) {
    return <CurvesCard {...rest} range={[from, to]} />;
  },
  (before, after) => {
    const { curves: old, metrics: oldNames, bounds: _, ...was } = before;
    const { curves, metrics, bounds: __, ...is } = after;
    const plain = Object.keys(is) as (keyof typeof is)[];
    return plain.every((key) => was[key] === is[key]) && oldNames.join() === metrics.join() && sameCurves(old, curves);
  },
);

function looksOf(group: readonly MetricInfo[]) {
  const [first] = group;
  if (!first) throw new Error("a chart has at least one metric");
  return {
    title: group.length > 1 ? metricTitle(first).replace("Training ", "").replace(/^./, upper) : metricTitle(first),
    unit: first.unit,
    description: group.map((metric) => describe(metric)).join(" "),
    bounds: boundsOf(first),
    zeroLine: isSigned(first),
  };
}

function upper(letter: string): string {
  return letter.toUpperCase();
}

function describe({ description, direction }: MetricInfo): string {
  return direction === "none"
    ? description
    : `${description} ${upper(direction.charAt(0))}${direction.slice(1)} is better.`;
}
