import type { RunFilter } from "./run-filter";

/** The query cache's addresses: the one place where pages and the stream agree on them. */
export const keys = {
  me: ["me"],
  catalogue: ["catalogue"],
  runs: ["runs"],
  runLists: ["runs", "list"],
  studies: (q: string) => ["runs", "studies", q],
  runList: (filter: RunFilter) => ["runs", "list", filter],
  run: (id: string) => ["run", id],
  runDetail: (id: string) => ["run", id, "detail"],
  runEvents: (id: string) => ["run", id, "events"],
  /** Above the columns that pages hold of a run, each its own metrics. */
  runMetrics: (id: string) => ["run", id, "metrics"],
  runColumns: (id: string, names: readonly string[], maxPoints: number) => ["run", id, "metrics", names, maxPoints],
  webhooks: ["webhooks"],
  webhookLog: (id: string) => ["webhooks", id, "log"],
  dryRun: (body: string) => ["dry-run", body],
  attemptLog: (id: string, attempt: number, source: string | null) => ["run", id, "log", attempt, source],
} as const;
