import type { RunSummary } from "@/api/types";
import { isOver, isPausable, isPaused } from "@/run/describe-run";
import type { Act } from "./api/changes";

type Told = Pick<RunSummary, "status" | "archived_at" | "deleted_at">;

/** What can be done to runs beside cancelling, in the order in which it is offered, and to which. */
export const ACTS: readonly { act: Act; label: string; suits: (run: Told) => boolean }[] = [
  { act: "pause", label: "Pause", suits: isPausable },
  { act: "resume", label: "Resume", suits: isPaused },
  { act: "archive", label: "Archive", suits: (run) => isOver(run) && !run.archived_at && !run.deleted_at },
  { act: "unarchive", label: "Unarchive", suits: (run) => Boolean(run.archived_at) && !run.deleted_at },
  { act: "delete", label: "Delete", suits: (run) => isOver(run) && !run.deleted_at },
  { act: "restore", label: "Restore", suits: (run) => Boolean(run.deleted_at) },
];

/** Those that suit one run. */
export function actsOn(run: Told): typeof ACTS {
  return ACTS.filter(({ suits }) => suits(run));
}
