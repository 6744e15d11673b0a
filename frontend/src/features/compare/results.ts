import type { MetricInfo, Run } from "@/api/types";

export type Direction = MetricInfo["direction"];

/** The columns of the table, by metric: what a run is judged by, then what it cost. */
export const RESULT_METRICS = [
  "validation_top1",
  "validation_loss",
  "training_set_loss",
  "sharpness",
  "hessian_top_eigenvalue",
  "gradient_evaluations",
  "cpu_seconds",
  "seconds",
] as const;

/** What a run measures only where its spec asks for it. */
const ON_REQUEST: ReadonlySet<string> = new Set(["training_set_loss", "sharpness", "hessian_top_eigenvalue"]);

/** The metrics to show: those on request only where one of the runs has a value. */
export function columnsOf(compared: readonly { run: Pick<Run, "latest"> }[]): string[] {
  return RESULT_METRICS.filter((name) => !ON_REQUEST.has(name) || compared.some(({ run }) => run.latest[name]));
}

/** A number of a run: its newest valid one, and the best on the way there where a direction is better. */
export interface Result {
  value: number | null;
  best: number | null;
  bestStep: number | null;
}

export function resultOf(run: Pick<Run, "latest">, metric: string): Result {
  const latest = run.latest[metric];
  return { value: latest?.value ?? null, best: latest?.best ?? null, bestStep: latest?.best_step ?? null };
}

/** Which of the values are the best of their column: none where no direction is better or nothing differs. */
export function bestMarks(values: readonly (number | null)[], direction: Direction): boolean[] {
  const known = values.filter((value) => value !== null);
  const best = direction === "lower" ? Math.min(...known) : Math.max(...known);
  const decides = direction !== "none" && known.some((value) => value !== best);
  return values.map((value) => decides && value === best);
}

/** How a value stands to the baseline's. */
export interface Delta {
  by: number;
  /** Null where no direction is better, or nothing differs. */
  better: boolean | null;
}

export function deltaTo(value: number | null, baseline: number | null, direction: Direction): Delta | null {
  if (value === null || baseline === null) return null;
  const by = value - baseline;
  if (by === 0 || direction === "none") return { by, better: null };
  return { by, better: direction === "higher" ? by > 0 : by < 0 };
}

/** The table's order: `-metric` descends; runs without the number come last either way, ties keep their order. */
export function sortedRuns<R extends Pick<Run, "latest" | "name">>(runs: readonly R[], sort: string | undefined): R[] {
  if (!sort) return [...runs];
  const descends = sort.startsWith("-");
  const column = descends ? sort.slice(1) : sort;
  const sign = descends ? -1 : 1;
  if (column === "name") return runs.toSorted((a, b) => sign * a.name.localeCompare(b.name));
  return runs.toSorted((a, b) => {
    const [first, second] = [resultOf(a, column).value, resultOf(b, column).value];
    if (first === null || second === null) return Number(first === null) - Number(second === null);
    return sign * (first - second);
  });
}

/** The next state of a column's header: best first, the other way round, then the runs' own order. */
export function nextSort(sort: string | undefined, column: string, direction: Direction): string | undefined {
  const first = direction === "higher" ? `-${column}` : column;
  const second = direction === "higher" ? column : `-${column}`;
  if (sort === first) return second;
  return sort === second ? undefined : first;
}
