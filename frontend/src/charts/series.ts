import type { Role } from "./palette";

/** One metric as columns; null is a value that was not finite and leaves a gap. */
export interface Columns {
  steps: number[];
  values: (number | null)[];
}

/** What a chart draws: columns with a name for people and a role that decides colour and dash. */
export interface Line extends Columns {
  label: string;
  unit: string;
  role: Role;
  /** A dot at each point: for series with few points, such as validation. */
  dots?: boolean;
  /** Lowest and highest value of what each point stands for, where the API thinned a long series. */
  spread?: { low: (number | null)[]; high: (number | null)[] };
}

/** A vertical line with a word, e.g. where a new attempt resumed. */
export interface Marker {
  step: number;
  label: string;
}

/** One shared x column, then a value column a line: `undefined` where a line has no point, null where it has a gap. */
export type Aligned = [number[], ...(number | null | undefined)[][]];

/**
 * Joins lines on x, which ascends in each. `from` and `to` are put into the x column even where no line has a point, so
 * that all charts of a page show the same range and stay aligned. Of points with the same x the last stays.
 */
export function alignOnX(
  lines: readonly { xs: readonly number[]; values: readonly (number | null)[] }[],
  from?: number,
  to?: number,
): Aligned {
  const all = new Set<number>();
  if (from !== undefined) all.add(from);
  if (to !== undefined) all.add(to);
  for (const line of lines) for (const x of line.xs) all.add(x);
  const xs = Float64Array.from(all).sort();
  const row = new Map<number, number>();
  xs.forEach((x, index) => {
    row.set(x, index);
  });
  const columns = lines.map((line) => {
    const column: (number | null | undefined)[] = new Array(xs.length).fill(undefined);
    line.xs.forEach((x, index) => {
      column[row.get(x) as number] = line.values[index] ?? null;
    });
    return column;
  });
  return [Array.from(xs), ...columns];
}

/** Joins lines on their steps. */
export function alignOnStep(lines: readonly Columns[], from?: number, to?: number): Aligned {
  return alignOnX(
    lines.map(({ steps, values }) => ({ xs: steps, values })),
    from,
    to,
  );
}

/** The upper and lower edges of the lines' spreads, two columns a spread in the order of `lines`. */
export function spreadEdges(lines: readonly Line[]): Columns[] {
  return lines.flatMap(({ steps, spread }) =>
    spread
      ? [
          { steps, values: spread.high },
          { steps, values: spread.low },
        ]
      : [],
  );
}

/** The newest finite value of a line with its step; null before the first. */
export function lastPoint(line: Columns): { step: number; value: number } | null {
  for (let index = line.values.length - 1; index >= 0; index--) {
    const value = line.values[index];
    const step = line.steps[index];
    if (value !== null && value !== undefined && step !== undefined) return { step, value };
  }
  return null;
}

/** For a logarithmic axis: values that have no logarithm become gaps. */
export function positiveOnly(line: Line): Line {
  const keep = (values: (number | null)[]) => values.map((value) => (value !== null && value > 0 ? value : null));
  const spread = line.spread && { low: keep(line.spread.low), high: keep(line.spread.high) };
  return { ...line, values: keep(line.values), spread };
}

/** A table of the lines: a row a step, newest first, at most `limit` rows. */
export function tableRows(lines: readonly Columns[], limit: number): { step: number; values: (number | null)[] }[] {
  const [steps, ...columns] = alignOnStep(lines);
  return steps
    .map((step, index) => ({ step, values: columns.map((column) => column[index] ?? null) }))
    .slice(-limit)
    .reverse();
}

/** The lines as comma-separated values, all steps in ascending order, for copying into a spreadsheet. */
export function toCsv(lines: readonly (Columns & { label: string })[]): string {
  const rows = tableRows(lines, Number.MAX_SAFE_INTEGER).reverse();
  return csvText(
    ["step", ...lines.map(({ label }) => label)],
    rows.map(({ step, values }) => [step, ...values]),
  );
}

/** Comma-separated values; titles in quotes, null as an empty cell. */
export function csvText(titles: readonly string[], rows: readonly (number | null)[][]): string {
  const head = titles.map((title) => `"${title.replaceAll('"', '""')}"`).join(",");
  return [head, ...rows.map((row) => row.map((value) => value ?? "").join(","))].join("\n");
}
