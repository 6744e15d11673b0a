import { keepPreviousData, queryOptions, useMutation, useQueryClient } from "@tanstack/react-query";
import { ApiError, api, unwrap } from "@/api/client";
import { keys } from "@/api/keys";
import type { DryRun, Run, SpecProblem } from "@/api/types";

/** What the API says of a submission without taking it. */
export type Verdict = { ok: true; dryRun: DryRun } | { ok: false; detail: string; problems: readonly SpecProblem[] };

type Body = Record<string, unknown>;

/** Asks what a submission would do. An older question is cancelled as soon as a newer one is asked. */
export function dryRunQuery(body: Body | null) {
  return queryOptions({
    queryKey: keys.dryRun(JSON.stringify(body)),
    queryFn: async ({ signal }): Promise<Verdict> => {
      try {
        const answer = await unwrap(
          api.POST("/api/v1/runs", { params: { query: { dry_run: true } }, body: body as never, signal }),
        );
        return { ok: true, dryRun: answer as unknown as DryRun };
      } catch (error) {
        // A refusal is an answer: it says what to mend.
        if (!(error instanceof ApiError) || error.status < 400 || error.status >= 500) throw error;
        if (error.status === 401) throw error;
        return { ok: false, detail: error.detail, problems: error.problems };
      }
    },
    enabled: body !== null,
    placeholderData: keepPreviousData,
    // The place in the queue changes by itself.
    staleTime: 5_000,
    gcTime: 30_000,
  });
}

interface Submit {
  body: Body;
  idempotencyKey: string;
}

/** Submits; the same key with the same body gives the same run, however often it is sent. */
export function useSubmit() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ body, idempotencyKey }: Submit) =>
      unwrap(
        api.POST("/api/v1/runs", {
          params: { header: { "idempotency-key": idempotencyKey } },
          body: body as never,
        }),
      ) as Promise<Run>,
    onSuccess: (run) => {
      client.setQueryData(keys.runDetail(run.id), run);
      void client.invalidateQueries({ queryKey: keys.runs });
    },
  });
}
