import { queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "@/api/client";
import { keys } from "@/api/keys";
import type { EventPage, Run, RunEdit } from "@/api/types";

const EVENT_PAGE_SIZE = 1_000;
/** A timeline longer than these pages shows its beginning; a run of ten thousand events does not happen by itself. */
const MAX_EVENT_PAGES = 10;

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

/** Asks a run to stop; it saves a checkpoint first, unless it is to stop `now`. */
export function useCancelRun(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ now }: { now: boolean }) =>
      unwrap(api.POST("/api/v1/runs/{run_id}/cancel", { params: { path: { run_id: id }, query: { now } } })),
    onSuccess: (run: Run) => client.setQueryData(keys.runDetail(id), run),
  });
}

/** Pauses a run, which saves a checkpoint and gives its slots back, or lets a paused one go on. */
export function usePauseRun(id: string, act: "pause" | "resume") {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => unwrap(api.POST(`/api/v1/runs/{run_id}/${act}`, { params: { path: { run_id: id } } })),
    onSuccess: (run: Run) => {
      client.setQueryData(keys.runDetail(id), run);
      void client.invalidateQueries({ queryKey: keys.runs });
    },
  });
}

/** Changes a run's name or study, or its priority while it waits. */
export function useEditRun(id: string) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (edit: RunEdit) =>
      unwrap(api.PATCH("/api/v1/runs/{run_id}", { params: { path: { run_id: id } }, body: edit })),
    onSuccess: (run: Run) => {
      client.setQueryData(keys.runDetail(id), run);
      void client.invalidateQueries({ queryKey: keys.runs });
    },
  });
}
