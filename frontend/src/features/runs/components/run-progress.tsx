import type { RunSummary } from "@/api/types";
import { useNow } from "@/components/use-now";
import { formatDuration, formatInstant, secondsBetween } from "@/format/duration";
import { formatCount } from "@/format/number";
import { isLive, ordinal, percentDone } from "@/run/describe-run";
import classes from "./run-progress.module.css";

interface RunProgressProps {
  run: RunSummary;
  /** What the newest attempt waits for before its first step. */
  doing?: string | null;
}

/** How far a run is: a bar with steps and time left; a place and a reason while it waits. */
export function RunProgress({ run, doing }: RunProgressProps) {
  const waits = run.status === "queued" || run.status === "paused";
  const now = useNow(waits);
  const waitsFor = formatDuration(Math.floor(secondsBetween(run.status_at, null, now) ?? 0));
  if (run.status === "queued") {
    return (
      <div className={classes.waiting}>
        <span>
          {run.position ? `${ordinal(run.position)} in the queue` : "In the queue"} for {waitsFor}
        </span>
        {run.wait_reason && <span className={classes.note}>{run.wait_reason}</span>}
        {run.estimated_start && (
          <span className={classes.note}>starts at about {formatInstant(run.estimated_start)}</span>
        )}
      </div>
    );
  }
  const percent = percentDone(run);
  return (
    <div>
      <div
        role="progressbar"
        aria-label={`Progress of ${run.name}`}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={percent === null ? undefined : Math.round(percent)}
        className={classes.track}
        data-status={run.status}
      >
        <div className={classes.bar} style={{ width: `${percent ?? 0}%` }} />
      </div>
      <div className={classes.note}>
        <span>{steps(run, doing)}</span>
        {run.status === "paused" && <span>paused for {waitsFor}</span>}
        {run.eta_seconds !== null && <span>{formatDuration(Math.round(run.eta_seconds))} left</span>}
      </div>
    </div>
  );
}

function steps(run: RunSummary, doing?: string | null): string {
  if (run.step === 0 && isLive(run)) return doing || "starting";
  const done = formatCount(run.step);
  if (run.total_steps === null) return `${done} steps`;
  return run.step >= run.total_steps ? `${done} steps` : `${done} / ${formatCount(run.total_steps)} steps`;
}
