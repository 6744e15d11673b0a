import { useInfiniteQuery, useQueries } from "@tanstack/react-query";
import { useState } from "react";
import { ApiError, describeError } from "@/api/client";
import { metricsQuery } from "@/api/metrics";
import { runListQuery, runQuery } from "@/api/runs";
import type { MetricColumns, Run } from "@/api/types";
import { X_AXES } from "@/charts/x-axis";
import { type CompareSearch, MAX_COMPARED, wordsOf } from "../compare-search";

/** A run that the address names and that cannot be shown, with the reason. */
export interface AbsentRun {
  id: string;
  detail: string;
}

/** A compared run; its place among them decides its colour and stays when others are hidden. */
export interface ComparedRun {
  run: Run;
  place: number;
}

export interface Comparison {
  compared: ComparedRun[];
  absent: AbsentRun[];
  /** Whether a run or the study's list is still on its way. */
  isPending: boolean;
  /** Whether more runs were chosen than are shown, and how many, where that is known. */
  chosen: { more: boolean; count: number | null };
  /** Whether a study was asked for that has no run. */
  isStudyEmpty: boolean;
  /** Why the study's list could not be loaded. */
  studyError: Error | null;
}

/** The runs of a comparison: those that the address names, then those of its study in the order of submission. */
export function useComparison(search: CompareSearch): Comparison {
  const { study } = search;
  const list = useInfiniteQuery({
    ...runListQuery({ statuses: [], study: study ?? "" }),
    enabled: study !== undefined,
  });
  const ofStudy = list.data?.pages.flatMap((page) => page.items.map(({ id }) => id)) ?? [];
  const { ids, left } = shownIds(wordsOf(search.runs), study === undefined ? [] : ofStudy);
  const answers = useQueries({ queries: ids.map((id) => ({ ...runQuery(id), retry: retryUnlessAbsent })) });

  const compared: ComparedRun[] = [];
  const absent: AbsentRun[] = [];
  answers.forEach(({ data, error }, place) => {
    const id = ids[place] ?? "";
    if (data) compared.push({ run: data, place });
    else if (error) absent.push({ id, detail: describeError(error).detail });
  });
  return {
    compared,
    absent,
    isPending: (study !== undefined && list.isPending) || answers.some(({ isPending }) => isPending),
    chosen: { more: left > 0 || list.hasNextPage, count: list.hasNextPage ? null : ids.length + left },
    isStudyEmpty: study !== undefined && list.data !== undefined && ofStudy.length === 0,
    studyError: list.data ? null : list.error,
  };
}

/**
 * At most `MAX_COMPARED` ids and how many are left out: the named ones in their order, then the newest of the study's
 * (listed newest first) from the oldest on, so that a run that joins the study comes last and changes no colour.
 */
export function shownIds(named: readonly string[], ofStudy: readonly string[]): { ids: string[]; left: number } {
  const first = named.slice(0, MAX_COMPARED);
  const others = ofStudy.filter((id) => !named.includes(id));
  const room = MAX_COMPARED - first.length;
  const ids = [...first, ...others.slice(0, room).reverse()];
  return { ids, left: named.length + others.length - ids.length };
}

/** Points a series: fewer the more runs share the page, so that it stays quick. */
export function pointsFor(runs: number): number {
  return runs <= 6 ? 1_000 : runs <= 12 ? 500 : 250;
}

/** Metrics that the x axis can be made of; always fetched, so that changing it asks for nothing. */
const AXIS_METRICS = Object.values(X_AXES).flatMap(({ metric }) => (metric ? [metric] : []));

/** The columns of each run in the order of `ids`; undefined until they are there. */
export function useColumns(ids: readonly string[], metrics: readonly string[]): (MetricColumns | undefined)[] {
  const names = [...new Set([...metrics, ...AXIS_METRICS])].sort();
  const answers = useQueries({
    queries: ids.map((id) => ({
      ...metricsQuery(id, names, pointsFor(ids.length)),
      // Which metrics to ask for is known once the catalogue is there.
      enabled: metrics.length > 0,
      // Another choice of metrics keeps the lines of this run, never of another, until its own are there.
      placeholderData: (before: MetricColumns | undefined) => (before?.run_id === id ? before : undefined),
    })),
  });
  return useSameArray(answers.map(({ data }) => data));
}

/** The array of the last render as long as its entries are the same: what depends on it need not be made anew. */
function useSameArray<Entry>(entries: Entry[]): Entry[] {
  const [kept, keep] = useState(entries);
  const isSame = kept.length === entries.length && kept.every((entry, index) => entry === entries[index]);
  if (!isSame) keep(entries);
  return isSame ? kept : entries;
}

function retryUnlessAbsent(failures: number, error: Error): boolean {
  return failures < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500);
}
