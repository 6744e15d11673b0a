import type { RunStatus, RunSummary } from "./types";

/** Which runs a list holds: what the API is asked, and what live changes are judged by. */
export interface RunFilter {
  /** None: any status. */
  statuses: readonly RunStatus[];
  /** Exactly this study. */
  study?: string;
  /** Part of the name or of the id, whatever the case. */
  q?: string;
  /** Off: runs that are neither archived nor deleted. */
  kept?: "archived" | "deleted";
}

export const EVERY_RUN: RunFilter = { statuses: [] };

/** Whether the API would list the run under this filter. */
export function matchesFilter(run: RunSummary, filter: RunFilter): boolean {
  const kept = run.deleted_at ? "deleted" : run.archived_at ? "archived" : undefined;
  if (kept !== filter.kept) return false;
  if (filter.statuses.length > 0 && !filter.statuses.includes(run.status)) return false;
  if (filter.study !== undefined && run.study !== filter.study) return false;
  if (!filter.q) return true;
  const wanted = filter.q.toLowerCase();
  return run.name.toLowerCase().includes(wanted) || run.id.toLowerCase().includes(wanted);
}
