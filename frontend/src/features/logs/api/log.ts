import { queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "@/api/client";
import { keys } from "@/api/keys";
import { continuedText, firstText, type LogText } from "../log-text";

const FIRST_LINES = 1_000;
const LINES_A_TIME = 5_000;
const FOLLOW_MS = 2_000;
/** Answers that one turn of following may need; a log that grows faster is caught up with at the next one. */
const MAX_ANSWERS = 5;
/** Of 5,000 lines or 256 KiB each: enough for any log that a person would open in an editor. */
const MAX_DOWNLOAD_ANSWERS = 2_000;

export interface LogAddress {
  runId: string;
  attempt: number;
  /** "driver", "rank-0", ...; null lets the API choose. */
  source: string | null;
}

/** The end of one log of an attempt; once read, only what follows is fetched. */
export function logQuery(log: LogAddress, follow: boolean) {
  return queryOptions({
    queryKey: keys.attemptLog(log.runId, log.attempt, log.source),
    queryFn: async ({ client, queryKey }): Promise<LogText> => {
      const known = client.getQueryData<LogText>(queryKey);
      if (!known?.source) return firstText(await fetchPart(log, { lines: FIRST_LINES }));
      let text = known;
      for (let answers = 0; answers < MAX_ANSWERS; answers++) {
        const part = await fetchPart({ ...log, source: text.source }, { lines: LINES_A_TIME, after: text.end });
        text = continuedText(text, part);
        if (!part.truncated) break;
      }
      return text;
    },
    refetchInterval: follow ? FOLLOW_MS : false,
    structuralSharing: false,
  });
}

/** The whole log, from its first line. */
export async function wholeLog(log: LogAddress): Promise<string> {
  const parts: string[] = [];
  let after = 0;
  for (let answers = 0; answers < MAX_DOWNLOAD_ANSWERS; answers++) {
    const part = await fetchPart(log, { lines: LINES_A_TIME, after });
    parts.push(...part.lines);
    if (!part.truncated || part.end <= after) break;
    after = part.end;
  }
  return parts.length === 0 ? "" : `${parts.join("\n")}\n`;
}

function fetchPart({ runId, attempt, source }: LogAddress, range: { lines: number; after?: number }) {
  return unwrap(
    api.GET("/api/v1/runs/{run_id}/attempts/{number}/log", {
      params: { path: { run_id: runId, number: attempt }, query: { source: source ?? undefined, ...range } },
    }),
  );
}
