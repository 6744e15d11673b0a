import type { RunFilter } from "@/api/run-filter";
import type { RunStatus } from "@/api/types";

/** The list's filters, as the address names them: `/?status=active`. */
export const STATUS_FILTERS = {
  active: ["queued", "launching", "running", "pausing", "paused", "cancelling"],
  succeeded: ["succeeded"],
  failed: ["failed"],
  cancelled: ["cancelled"],
  archived: [],
  deleted: [],
} as const satisfies Record<string, readonly RunStatus[]>;

export type StatusFilter = keyof typeof STATUS_FILTERS;

export interface RunListSearch {
  status?: StatusFilter;
  /** Exactly this study. */
  study?: string;
  /** Part of a name or an id. */
  q?: string;
}

const MAX_LENGTH = 128;

/** Reads the address; what it does not know is dropped, so that an old link still shows a list. */
export function parseRunListSearch(search: Record<string, unknown>): RunListSearch {
  const { status } = search;
  const study = textOf(search.study);
  const q = textOf(search.q);
  return {
    ...(typeof status === "string" && Object.hasOwn(STATUS_FILTERS, status) && { status: status as StatusFilter }),
    ...(study !== undefined && { study }),
    ...(q !== undefined && { q }),
  };
}

/** What to ask the API for. */
export function filterOf({ status, study, q }: RunListSearch): RunFilter {
  const kept = status === "archived" || status === "deleted" ? status : undefined;
  return { statuses: status ? STATUS_FILTERS[status] : [], study, q, kept };
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value.trim() !== "" ? value.trim().slice(0, MAX_LENGTH) : undefined;
}
