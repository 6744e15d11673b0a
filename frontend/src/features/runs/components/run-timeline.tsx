import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { describeError } from "@/api/client";
import type { Run } from "@/api/types";
import { Panel } from "@/components/panel";
import { Failure, Loading } from "@/components/state-messages";
import { useNow } from "@/components/use-now";
import { formatDuration, formatInstant } from "@/format/duration";
import { isLive } from "@/run/describe-run";
import { runEventsQuery } from "../api/runs";
import { entriesOf, type TimelineEntry, timeByStatus } from "../timeline";
import classes from "./run-timeline.module.css";

const SHOWN_AT_FIRST = 12;

/** How long the run was in each status, and what happened to it, newest first. */
export function RunTimeline({ run }: { run: Run }) {
  const events = useQuery(runEventsQuery(run.id));
  const now = useNow(isLive(run));
  const [showsAll, setShowsAll] = useState(false);
  const items = entriesOf(events.data?.items ?? []);
  const shown = showsAll ? items : items.slice(0, SHOWN_AT_FIRST);
  return (
    <Panel title="Timeline" collapsible>
      {events.isPending && <Loading label="Loading the timeline" />}
      {events.isError && !events.data && <Failure {...describeError(events.error)} onRetry={() => events.refetch()} />}
      <p className={classes.meta}>
        {timeByStatus(run.states, now).map(({ status, seconds }) => (
          <span key={status}>
            {status} {formatDuration(seconds < 10 ? seconds : Math.floor(seconds))}
          </span>
        ))}
      </p>
      <ol className={classes.list}>
        {shown.map((entry) => (
          <TimelineRow key={entry.event.id} entry={entry} />
        ))}
      </ol>
      {items.length > shown.length && (
        <Button variant="subtle" color="gray" size="compact-sm" onClick={() => setShowsAll(true)}>
          Show {items.length - shown.length} earlier
        </Button>
      )}
    </Panel>
  );
}

function TimelineRow({ entry: { event, hidden } }: { entry: TimelineEntry }) {
  const time = new Date(event.at).toLocaleTimeString(undefined, { timeStyle: "medium" });
  return (
    <li className={classes.row} data-kind={event.kind} data-to={String(event.data.to ?? "")}>
      <span className={classes.dot} aria-hidden="true" />
      <div className={classes.text}>
        {event.text}
        {hidden > 0 && <span className={classes.hidden}> {hidden} before it.</span>}
      </div>
      <div className={classes.meta}>
        <time dateTime={event.at} title={formatInstant(event.at)}>
          {time}
        </time>
        <span>{event.actor.replace(/^user:/, "")}</span>
        {event.attempt !== null && <span>attempt {event.attempt}</span>}
      </div>
    </li>
  );
}
