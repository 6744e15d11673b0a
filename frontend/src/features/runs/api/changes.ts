import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, describeError, unwrap } from "@/api/client";
import { keys } from "@/api/keys";
import type { RunEdit } from "@/api/types";

/** A run that was not changed, and why. */
export interface Refusal {
  runId: string;
  detail: string;
}

/** What became of a change of many runs. */
export interface Outcome {
  done: number;
  alreadyOver: number;
  refused: Refusal[];
}

const AT_ONCE = 6;

/** Asks many runs to stop, in one request. */
export function useCancelRuns() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (runIds: readonly string[]): Promise<Outcome> => {
      const answer = await unwrap(api.POST("/api/v1/runs/cancel", { body: { run_ids: [...runIds], now: false } }));
      return {
        done: answer.cancelled.length,
        alreadyOver: answer.already_over.length,
        refused: answer.refused.map(({ run_id, detail }) => ({ runId: run_id, detail })),
      };
    },
    onSettled: () => client.invalidateQueries({ queryKey: keys.runs }),
  });
}

/** What can be done to many runs in one request, beside cancelling them. */
export type Act = "pause" | "resume" | "archive" | "unarchive" | "delete" | "restore";

/** Pauses, resumes, archives or deletes many runs; a refused one does not stop the others. */
export function useChangeRuns(act: Act) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async (runIds: readonly string[]): Promise<Outcome> => {
      const answer = await unwrap(api.POST(`/api/v1/runs/${act}`, { body: { run_ids: [...runIds] } }));
      return {
        done: answer.changed.length,
        alreadyOver: answer.unchanged.length,
        refused: answer.refused.map(({ run_id, detail }) => ({ runId: run_id, detail })),
      };
    },
    onSettled: () => client.invalidateQueries({ queryKey: keys.runs }),
  });
}

/** Changes the study or the priority of many runs, each by itself: a refused one does not stop the others. */
export function useEditRuns() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: async ({ runIds, edit }: { runIds: readonly string[]; edit: RunEdit }): Promise<Outcome> => {
      const refused: Refusal[] = [];
      for (let first = 0; first < runIds.length; first += AT_ONCE) {
        const batch = runIds.slice(first, first + AT_ONCE);
        const answers = await Promise.allSettled(batch.map((id) => editRun(id, edit)));
        answers.forEach((answer, index) => {
          if (answer.status === "rejected") {
            refused.push({ runId: batch[index] ?? "", detail: describeError(answer.reason).detail });
          }
        });
      }
      return { done: runIds.length - refused.length, alreadyOver: 0, refused };
    },
    onSettled: () => client.invalidateQueries({ queryKey: keys.runs }),
  });
}

function editRun(id: string, edit: RunEdit) {
  return unwrap(api.PATCH("/api/v1/runs/{run_id}", { params: { path: { run_id: id } }, body: edit }));
}
