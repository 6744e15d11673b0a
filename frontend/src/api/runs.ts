import { queryOptions } from "@tanstack/react-query";
import { isLive } from "@/run/describe-run";
import { api, unwrap } from "./client";
import { keys } from "./keys";

/** The stream brings changes of a run; its place in the queue, or its silence, changes without one. */
export const POLL_MS = 15_000;

/** One run with its spec, attempts and notices. */
export function runQuery(id: string) {
  return queryOptions({
    queryKey: keys.runDetail(id),
    queryFn: () => unwrap(api.GET("/api/v1/runs/{run_id}", { params: { path: { run_id: id } } })),
    refetchInterval: ({ state }) => (state.data && isLive(state.data) ? POLL_MS : false),
  });
}
