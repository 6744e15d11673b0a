import type { QueryClient, QueryKey } from "@tanstack/react-query";
import { keys } from "@/api/keys";
import type { RunFilter } from "@/api/run-filter";
import type { EventPage, MetricColumns, MetricsChange, Run, RunSummary, TimelineEvent } from "@/api/types";
import { type Pages, withEvent, withPoint, withRun } from "./reducers";

/** The server-sent events that carry changes. */
export const EVENT_NAMES = ["run", "metrics", "event"] as const;

/** Writes one change of the stream into the query cache. An event of a kind this page does not know is ignored. */
export function applyEvent(client: QueryClient, name: string, data: string): void {
  if (name === "run") applyRun(client, JSON.parse(data) as RunSummary);
  else if (name === "metrics") applyMetrics(client, JSON.parse(data) as MetricsChange);
  else if (name === "event") applyTimelineEvent(client, JSON.parse(data) as TimelineEvent);
}

function applyRun(client: QueryClient, run: RunSummary): void {
  for (const query of client.getQueryCache().findAll({ queryKey: keys.runLists })) {
    const filter = query.queryKey[2] as RunFilter;
    change<Pages>(client, query.queryKey, (list) => withRun(list, run, filter));
  }
  const before = client.getQueryData<Run>(keys.runDetail(run.id));
  change<Run>(client, keys.runDetail(run.id), (detail) => ({ ...detail, ...run }));
  if (!before) return;
  // The attempts are not part of the summary; a new attempt also ends the validity of its predecessor's points.
  if (before.status !== run.status || before.attempt !== run.attempt) refetch(client, keys.runDetail(run.id));
  if (before.attempt !== run.attempt) void client.invalidateQueries({ queryKey: keys.runMetrics(run.id) });
}

function applyMetrics(client: QueryClient, numbers: MetricsChange): void {
  for (const query of client.getQueryCache().findAll({ queryKey: keys.runMetrics(numbers.run_id) })) {
    const columns = query.state.data as MetricColumns | undefined;
    if (!columns) continue;
    const names = query.queryKey[3] as readonly string[];
    const values = Object.fromEntries(Object.entries(numbers.values).filter(([name]) => names.includes(name)));
    const grown = withPoint(columns, { ...numbers, values });
    if (grown) change<MetricColumns>(client, query.queryKey, () => grown);
    else refetch(client, query.queryKey);
  }
}

function applyTimelineEvent(client: QueryClient, event: TimelineEvent): void {
  change<EventPage>(client, keys.runEvents(event.run_id), (page) => ({ ...page, items: withEvent(page.items, event) }));
  if (event.kind === "notice") {
    change<Run>(client, keys.runDetail(event.run_id), (run) => ({ ...run, notices: withEvent(run.notices, event) }));
  } else {
    refetch(client, keys.runDetail(event.run_id));
  }
}

function refetch(client: QueryClient, queryKey: QueryKey): void {
  void client.invalidateQueries({ queryKey, exact: true });
}

/** Changes cached data, if there is any; notes a fetch in flight, whose answer may be older than this change. */
function change<Data>(client: QueryClient, queryKey: QueryKey, update: (data: Data) => Data): void {
  const query = client.getQueryCache().find({ queryKey });
  if (query?.state.fetchStatus === "fetching") overtaken(client).add(query.queryHash);
  client.setQueryData<Data>(queryKey, (data) => (data === undefined ? data : update(data)));
}

const overtakenByClient = new WeakMap<QueryClient, Set<string>>();

function overtaken(client: QueryClient): Set<string> {
  const known = overtakenByClient.get(client) ?? new Set<string>();
  overtakenByClient.set(client, known);
  return known;
}

/**
 * Fetches again whatever was answered while the stream changed it: the answer may have been read before the change and
 * would hide it. Returns what ends the watch.
 */
export function refetchOvertaken(client: QueryClient): () => void {
  return client.getQueryCache().subscribe((notice) => {
    if (notice.type !== "updated" || notice.action.type !== "success" || notice.action.manual) return;
    if (overtaken(client).delete(notice.query.queryHash)) refetch(client, notice.query.queryKey);
  });
}

/** After a (re)connect anything may have been missed: fetches what the topics are about, where a page shows it. */
export function refetchTopics(client: QueryClient, topics: readonly string[]): void {
  for (const topic of topics) {
    const queryKey = topic.startsWith("run:") ? keys.run(topic.slice("run:".length)) : keys.runs;
    void client.invalidateQueries({ queryKey });
  }
}
