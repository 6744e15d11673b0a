import { matchesFilter, type RunFilter } from "@/api/run-filter";
import type { MetricColumns, MetricSeries, MetricsChange, RunPage, RunSummary, TimelineEvent } from "@/api/types";

/** The pages of a list as the query cache keeps them. */
export interface Pages {
  pages: RunPage[];
  pageParams: unknown[];
}

/**
 * Puts a changed run into a list, newest first. It takes its old place, or the top if it is new, or leaves the list if
 * it no longer matches the filter. Returns the same object where nothing changes.
 */
export function withRun(list: Pages, run: RunSummary, filter: RunFilter): Pages {
  const matches = matchesFilter(run, filter);
  const isThere = list.pages.some((page) => page.items.some((item) => item.id === run.id));
  if (isThere) {
    return mapPages(list, (items) =>
      matches ? items.map((item) => (item.id === run.id ? run : item)) : items.filter((item) => item.id !== run.id),
    );
  }
  const [first, ...rest] = list.pages;
  if (!matches || !first || !belongsOnLoadedPages(list, run)) return list;
  const items = [...first.items, run].sort((a, b) => Date.parse(b.created_at) - Date.parse(a.created_at));
  return { ...list, pages: [{ ...first, items }, ...rest] };
}

/** A run older than all that is loaded comes with a later page, if there is one. */
function belongsOnLoadedPages(list: Pages, run: RunSummary): boolean {
  const last = list.pages.at(-1);
  const oldest = last?.items.at(-1);
  if (!last?.next_cursor || !oldest) return true;
  return Date.parse(run.created_at) >= Date.parse(oldest.created_at);
}

function mapPages(list: Pages, change: (items: RunSummary[]) => RunSummary[]): Pages {
  return { ...list, pages: list.pages.map((page) => ({ ...page, items: change(page.items) })) };
}

/** Live points a series takes before it should be fetched again, so that the API can bucket it anew. */
export const MAX_LIVE_POINTS = 2_000;

/**
 * Appends the numbers of one step. Null means that the columns cannot be continued and must be fetched again: a step
 * that is not newer (a new attempt resumed earlier, or an event was delivered twice out of order) or too many points.
 * A repeat of the newest step changes nothing.
 */
export function withPoint(columns: MetricColumns, change: MetricsChange): MetricColumns | null {
  const known = new Map(columns.series.map((series) => [series.name, series]));
  for (const [name, value] of Object.entries(change.values)) {
    const grown = appended(known.get(name) ?? emptySeries(name), change.step, value);
    if (grown === null) return null;
    known.set(name, grown);
  }
  return { ...columns, series: [...known.values()] };
}

function appended(series: MetricSeries, step: number, value: number | null): MetricSeries | null {
  const last = series.steps.at(-1);
  if (last !== undefined && step === last) return series;
  if ((last !== undefined && step < last) || series.steps.length >= MAX_LIVE_POINTS) return null;
  return {
    ...series,
    steps: [...series.steps, step],
    values: [...series.values, value],
    minima: series.minima && [...series.minima, value],
    maxima: series.maxima && [...series.maxima, value],
  };
}

function emptySeries(name: string): MetricSeries {
  return { name, steps: [], values: [], minima: null, maxima: null, bucket_steps: 1 };
}

/** Adds a row to a timeline in the order of ids; a row that is there already changes nothing. */
export function withEvent(events: TimelineEvent[], event: TimelineEvent): TimelineEvent[] {
  if (events.some((known) => known.id === event.id)) return events;
  return [...events, event].sort((a, b) => a.id - b.id);
}
