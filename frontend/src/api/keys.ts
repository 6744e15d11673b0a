import type { RunStatus } from "./types";

/** The query cache's addresses: the one place where pages and the stream agree on them. */
export const keys = {
  me: ["me"],
  catalogue: ["catalogue"],
  runs: ["runs"],
  runLists: ["runs", "list"],
  /** Statuses that the list is filtered by; none: all runs. */
  runList: (statuses: readonly RunStatus[]) => ["runs", "list", statuses],
  run: (id: string) => ["run", id],
  runDetail: (id: string) => ["run", id, "detail"],
  runEvents: (id: string) => ["run", id, "events"],
  runMetrics: (id: string) => ["run", id, "metrics"],
  attemptLog: (id: string, attempt: number, source: string | null) => ["run", id, "log", attempt, source],
} as const;
