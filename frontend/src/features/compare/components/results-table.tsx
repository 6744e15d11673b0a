import { useComputedColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { catalogueQuery } from "@/api/metrics";
import type { MetricInfo, Run } from "@/api/types";
import { CardInfo } from "@/charts/card-controls";
import { Swatch } from "@/charts/chart-legend";
import { useHighlighter, useIsHighlighted } from "@/charts/highlight";
import { runStyle } from "@/charts/palette";
import { Panel } from "@/components/panel";
import { formatDuration } from "@/format/duration";
import { formatCount, formatValue } from "@/format/number";
import { methodDetail, methodLabel } from "@/run/describe-run";
import type { ComparedRun } from "../api/compared-runs";
import { wordsOf } from "../compare-search";
import { metricTitle } from "../metric-choice";
import { bestMarks, columnsOf, type Delta, deltaTo, nextSort, resultOf, sortedRuns } from "../results";
import type { CompareProps } from "./compare-view";
import classes from "./tables.module.css";

/** Where the catalogue's title is too long for a column, or its sentence says too little here. */
const COLUMN_TITLES: Record<string, string> = {
  validation_top1: "Val. top-1",
  validation_loss: "Val. loss",
  training_set_loss: "Training set loss",
  sharpness: "Sharpness",
  hessian_top_eigenvalue: "Top eigenvalue",
  gradient_evaluations: "Gradient evals",
};

interface ResultsTableProps extends CompareProps {
  compared: readonly ComparedRun[];
}

/** A row a run, linked with the charts: what it reached and what it cost; the best of each column marked. */
export function ResultsTable({ search, onChange, compared }: ResultsTableProps) {
  const { data: catalogue = [] } = useQuery(catalogueQuery);
  const columns = columnsOf(compared).flatMap((name) => catalogue.find((metric) => metric.name === name) ?? []);
  const places = new Map(compared.map(({ run, place }) => [run.id, place]));
  const runs = sortedRuns(
    compared.map(({ run }) => run),
    search.sort,
  );
  const baseline = compared.find(({ run }) => run.id === search.baseline)?.run;
  const hidden = new Set(wordsOf(search.hidden));
  const marks = columns.map(({ name, direction }) =>
    bestMarks(
      runs.map((run) => resultOf(run, name).value),
      direction,
    ),
  );
  return (
    <Panel title="Results">
      <div className={classes.scroll}>
        <table className={classes.table}>
          <thead>
            <tr>
              <SortHeader title="Run" column="name" direction="lower" search={search} onChange={onChange} />
              <th scope="col">Method</th>
              {columns.map((metric) => (
                <SortHeader
                  key={metric.name}
                  title={COLUMN_TITLES[metric.name] ?? metricTitle(metric)}
                  column={metric.name}
                  direction={metric.direction}
                  metric={metric}
                  search={search}
                  onChange={onChange}
                />
              ))}
            </tr>
          </thead>
          <tbody>
            {runs.map((run, row) => (
              <ResultRow
                key={run.id}
                run={run}
                place={places.get(run.id) ?? 0}
                isHidden={hidden.has(run.id)}
                isBaseline={run === baseline}
              >
                {columns.map((metric, column) => (
                  <ResultCell
                    key={metric.name}
                    run={run}
                    metric={metric}
                    isBest={marks[column]?.[row] ?? false}
                    baseline={baseline && run !== baseline ? baseline : undefined}
                  />
                ))}
              </ResultRow>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

interface SortHeaderProps extends CompareProps {
  title: string;
  column: string;
  direction: MetricInfo["direction"];
  metric?: MetricInfo;
}

function SortHeader({ title, column, direction, metric, search, onChange }: SortHeaderProps) {
  const sorted = search.sort === column ? "ascending" : search.sort === `-${column}` ? "descending" : undefined;
  return (
    <th scope="col" aria-sort={sorted} className={metric && classes.number}>
      <span className={classes.headCell}>
        <button
          type="button"
          className={classes.sort}
          onClick={() => onChange({ sort: nextSort(search.sort, column, direction) })}
        >
          {title}
          <span aria-hidden="true">{sorted === "ascending" ? " ↑" : sorted === "descending" ? " ↓" : ""}</span>
        </button>
        {metric && <CardInfo title={title} description={describe(metric)} />}
      </span>
    </th>
  );
}

function describe({ description, direction }: MetricInfo): string {
  return direction === "none" ? description : `${description} ${direction === "lower" ? "Lower" : "Higher"} is better.`;
}

interface ResultRowProps {
  run: Run;
  place: number;
  isHidden: boolean;
  isBaseline: boolean;
  children: React.ReactNode;
}

function ResultRow({ run, place, isHidden, isBaseline, children }: ResultRowProps) {
  const scheme = useComputedColorScheme("light", { getInitialValueInEffect: false });
  const lit = useIsHighlighted(run.id);
  return (
    <tr data-lit={lit || undefined} data-hidden={isHidden || undefined} {...useHighlighter(run.id)}>
      <th scope="row" className={classes.nameCell}>
        <span className={classes.nameLine}>
          <Swatch style={runStyle(place, scheme)} />
          <Link to="/runs/$runId" params={{ runId: run.id }} title={run.name} dir="auto">
            {run.name}
          </Link>
          {isBaseline && <span className={classes.tag}>baseline</span>}
        </span>
      </th>
      <td className={classes.methodCell} title={methodDetail(run)}>
        {methodLabel(run)}
        <span className={classes.dim}>{methodDetail(run)}</span>
      </td>
      {children}
    </tr>
  );
}

interface ResultCellProps {
  run: Run;
  metric: MetricInfo;
  isBest: boolean;
  baseline: Run | undefined;
}

function ResultCell({ run, metric, isBest, baseline }: ResultCellProps) {
  const { value, best, bestStep } = resultOf(run, metric.name);
  const delta = baseline ? deltaTo(value, resultOf(baseline, metric.name).value, metric.direction) : null;
  // The best on the way says something of what is measured again and again, not of a sum or of an end.
  const showsBest = metric.name.startsWith("validation_") && best !== null && best !== value;
  return (
    <td className={classes.number} data-best={isBest || undefined}>
      <span className={classes.value}>{textOf(value, metric)}</span>
      {isBest && <span className={classes.unseen}> best of the column</span>}
      {delta && <DeltaText delta={delta} metric={metric} />}
      {showsBest && !delta && (
        <span className={classes.dim} title={`at step ${formatCount(bestStep)}`}>
          best {textOf(best, metric)}
        </span>
      )}
    </td>
  );
}

function DeltaText({ delta, metric }: { delta: Delta; metric: MetricInfo }) {
  const sign = delta.by > 0 ? "+" : delta.by < 0 ? "−" : "±";
  const tone = delta.better === null ? undefined : delta.better ? "good" : "bad";
  return (
    <span className={classes.delta} data-tone={tone}>
      {sign}
      {textOf(Math.abs(delta.by), metric)}
      {tone && <span className={classes.unseen}> {tone === "good" ? "better" : "worse"} than the baseline</span>}
    </span>
  );
}

function textOf(value: number | null, { unit, name }: MetricInfo): string {
  if (value === null) return "–";
  if (unit === "s") return formatDuration(value);
  return name === "gradient_evaluations" ? formatCount(value) : formatValue(value, unit);
}
