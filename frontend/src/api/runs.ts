import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { isLive } from "@/run/describe-run";
import { api, unwrap } from "./client";
import { keys } from "./keys";
import type { RunFilter } from "./run-filter";

const PAGE_SIZE = 50;
/** The stream brings changes of a run; its place in the queue, or its silence, changes without one. */
const POLL_MS = 15_000;

/** The runs under a filter, newest first, page by page. */
export function runListQuery(filter: RunFilter) {
  return infiniteQueryOptions({
    queryKey: keys.runList(filter),
    queryFn: ({ pageParam }) =>
      unwrap(
        api.GET("/api/v1/runs", {
          params: {
            query: {
              status: [...filter.statuses],
              study: filter.study,
              q: filter.q,
              archived: filter.kept === "archived",
              deleted: filter.kept === "deleted",
              limit: PAGE_SIZE,
              cursor: pageParam ?? undefined,
            },
          },
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
    refetchInterval: ({ state }) => (state.data?.pages.some((page) => page.items.some(isLive)) ? POLL_MS : false),
  });
}

/** One run with its spec, attempts and notices. */
export function runQuery(id: string) {
  return queryOptions({
    queryKey: keys.runDetail(id),
    queryFn: () => unwrap(api.GET("/api/v1/runs/{run_id}", { params: { path: { run_id: id } } })),
    refetchInterval: ({ state }) => (state.data && isLive(state.data) ? POLL_MS : false),
  });
}
