import type { TimelineEvent } from "@/api/types";

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
