import { infiniteQueryOptions, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "@/api/client";
import { keys } from "@/api/keys";
import type { EventPage, Run, RunStatus } from "@/api/types";
import { isLive } from "../describe-run";

const PAGE_SIZE = 50;
/** The stream brings changes of a run; its place in the queue, or its silence, changes without one. */
const POLL_MS = 15_000;
const EVENT_PAGE_SIZE = 1_000;
/** A timeline longer than these pages shows its beginning; a run of ten thousand events does not happen by itself. */
const MAX_EVENT_PAGES = 10;

/** Runs by status (none: all), newest first, page by page. */
export function runListQuery(statuses: readonly RunStatus[]) {
  return infiniteQueryOptions({
    queryKey: keys.runList(statuses),
    queryFn: ({ pageParam }) =>
      unwrap(
        api.GET("/api/v1/runs", {
          params: { query: { status: [...statuses], limit: PAGE_SIZE, cursor: pageParam ?? undefined } },
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

/** A run's timeline, oldest first. */
export function runEventsQuery(id: string) {
  return queryOptions({
    queryKey: keys.runEvents(id),
    queryFn: async (): Promise<EventPage> => {
      const items: EventPage["items"] = [];
      let after: number | null = 0;
      for (let page = 0; page < MAX_EVENT_PAGES && after !== null; page++) {
        const params = { path: { run_id: id }, query: { after, limit: EVENT_PAGE_SIZE } };
        const answer: EventPage = await unwrap(api.GET("/api/v1/runs/{run_id}/events", { params }));
        items.push(...answer.items);
        after = answer.next_after;
      }
      return { items, next_after: after };
    },
  });
}

/** Asks a run to stop; it saves a checkpoint first. */
export function useCancelRun(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => unwrap(api.POST("/api/v1/runs/{run_id}/cancel", { params: { path: { run_id: id } } })),
    onSuccess: (run: Run) => client.setQueryData(keys.runDetail(id), run),
  });
}
