import { Button } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Run } from "@/api/types";
import { useNow } from "@/components/use-now";
import { formatAgo, formatDuration, formatInstant, secondsBetween } from "@/format/duration";
import { formatCount, formatValue } from "@/format/number";
import { isLive, methodDetail, methodLabel } from "@/run/describe-run";
import classes from "./run-header.module.css";

interface RunFactsProps {
  run: Run;
  /** Absent where the priority cannot be changed. */
  onEditPriority?: () => void;
}

/** The run in a few words, each with its name. */
export function RunFacts({ run, onEditPriority }: RunFactsProps) {
  const now = useNow(isLive(run));
  const duration = secondsBetween(run.started_at, run.ended_at, now);
  const { validation_top1: top1, gradient_evaluations: evaluations } = run.latest;
  return (
    <dl className={classes.facts}>
      <Fact term="Method" note={methodDetail(run)}>
        {methodLabel(run)}
      </Fact>
      <Fact term="Model" note={`on ${run.data.replaceAll("_", " ")}`}>
        {run.model}
      </Fact>
      <Fact term="Workers">{`${run.workers} ${run.gpus_per_worker > 0 ? "GPU" : "CPU"}`}</Fact>
      {top1 && (
        <Fact
          term="Validation top-1"
          note={`best ${formatValue(top1.best, "%")} at step ${formatCount(top1.best_step)}`}
        >
          {formatValue(top1.value, "%")}
        </Fact>
      )}
      {evaluations && <Fact term="Gradient evaluations">{formatCount(evaluations.value)}</Fact>}
      {duration !== null && <Fact term="Duration">{formatDuration(Math.floor(duration))}</Fact>}
      {run.attempt !== null && run.attempt > 1 && <Fact term="Attempt">{run.attempt}</Fact>}
      {run.study !== null && (
        <Fact term="Study">
          <Link to="/compare" search={{ study: run.study }} className={classes.link}>
            {run.study}
          </Link>
        </Fact>
      )}
      {run.copied_from !== null && (
        <Fact term="Copied from">
          <Link to="/runs/$runId" params={{ runId: run.copied_from }} className={classes.link}>
            {run.copied_from}
          </Link>
        </Fact>
      )}
      {(run.status === "queued" || run.priority !== 0) && (
        <Fact term="Priority">
          {run.priority}
          {onEditPriority && (
            <Button size="compact-xs" variant="subtle" ml={4} onClick={onEditPriority} aria-label="Change the priority">
              Change
            </Button>
          )}
        </Fact>
      )}
      <Fact term="Owner">{run.user}</Fact>
      <Fact term="Submitted" note={formatInstant(run.created_at)}>
        {formatAgo(run.created_at, now)}
      </Fact>
    </dl>
  );
}

function Fact({ term, note, children }: { term: string; note?: string; children: ReactNode }) {
  return (
    <div>
      <dt>{term}</dt>
      <dd>
        {children}
        {note && <span className={classes.note}>{note}</span>}
      </dd>
    </div>
  );
}
