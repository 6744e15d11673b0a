import type { Me, RunSummary } from "@/api/types";

/** Whether a person may cancel or edit the run: its owner, or an admin. */
export function mayChange(me: Me | null | undefined, run: Pick<RunSummary, "user">): boolean {
  return Boolean(me && (me.may_cancel_all || (me.may_submit && me.name === run.user)));
}
