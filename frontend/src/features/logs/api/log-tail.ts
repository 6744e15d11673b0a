import { queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "@/api/client";
import { keys } from "@/api/keys";

const LINES = 500;
const FOLLOW_MS = 2_000;

interface LogTailOptions {
  runId: string;
  attempt: number;
  /** "driver", "rank-0", ...; null lets the API choose. */
  source: string | null;
  /** Reads again every two seconds. */
  follow: boolean;
}

/** The last lines of one log of an attempt. */
export function logTailQuery({ runId, attempt, source, follow }: LogTailOptions) {
  return queryOptions({
    queryKey: keys.attemptLog(runId, attempt, source),
    queryFn: () =>
      unwrap(
        api.GET("/api/v1/runs/{run_id}/attempts/{number}/log", {
          params: { path: { run_id: runId, number: attempt }, query: { lines: LINES, source: source ?? undefined } },
        }),
      ),
    refetchInterval: follow ? FOLLOW_MS : false,
    placeholderData: (before) => before,
  });
}
