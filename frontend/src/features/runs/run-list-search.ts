import type { RunStatus } from "@/api/types";

/** The list's filters, as the address names them: `/?status=active`. */
export const STATUS_FILTERS = {
  active: ["queued", "launching", "running", "pausing", "paused", "cancelling"],
  succeeded: ["succeeded"],
  failed: ["failed"],
  cancelled: ["cancelled"],
} as const satisfies Record<string, readonly RunStatus[]>;

export type StatusFilter = keyof typeof STATUS_FILTERS;

export interface RunListSearch {
  status?: StatusFilter;
}

/** Reads the address; what it does not know is dropped, so that an old link still shows a list. */
export function parseRunListSearch(search: Record<string, unknown>): RunListSearch {
  const { status } = search;
  return typeof status === "string" && Object.hasOwn(STATUS_FILTERS, status) ? { status: status as StatusFilter } : {};
}

/** The statuses to ask the API for; none for all runs. */
export function statusesOf(filter: StatusFilter | undefined): readonly RunStatus[] {
  return filter ? STATUS_FILTERS[filter] : [];
}
