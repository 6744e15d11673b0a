import type { RunStatus, StateSpan, TimelineEvent } from "@/api/types";
import { secondsBetween } from "@/format/duration";

export interface TimelineEntry {
  event: TimelineEvent;
  /** How many earlier events of the same kind, one after the other, this one stands for. */
  hidden: number;
}

/** The timeline as a person reads it: newest first, of checkpoints in a row only the newest. */
export function entriesOf(events: readonly TimelineEvent[]): TimelineEntry[] {
  const entries: TimelineEntry[] = [];
  for (const event of events) {
    const last = entries.at(-1);
    const repeats = last && event.kind === "checkpoint" && last.event.kind === "checkpoint";
    if (repeats) entries[entries.length - 1] = { event, hidden: last.hidden + 1 };
    else entries.push({ event, hidden: 0 });
  }
  return entries.reverse();
}

/** How long the run was in each status up to now (milliseconds), in the order in which it first came to them. */
export function timeByStatus(states: readonly StateSpan[], now: number): { status: RunStatus; seconds: number }[] {
  const sums = new Map<RunStatus, number>();
  for (const { status, began_at, ended_at, seconds } of states) {
    if (seconds === null) continue;
    sums.set(status, (sums.get(status) ?? 0) + (secondsBetween(began_at, ended_at, now) ?? 0));
  }
  return [...sums].map(([status, seconds]) => ({ status, seconds }));
}
