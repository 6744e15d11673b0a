import { Title } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { Run } from "@/api/types";
import { IconBack } from "@/components/icons";
import { useNow } from "@/components/use-now";
import { formatAgo, formatDuration, formatInstant, secondsBetween } from "@/format/duration";
import { formatCount, formatValue } from "@/format/number";
import { isLive, methodDetail, methodLabel } from "../describe-run";
import { CancelRun } from "./cancel-run";
import classes from "./run-header.module.css";
import { RunProgress } from "./run-progress";
import { StatusPill } from "./status-pill";

/** Who, what, how far: the top of a run's page. */
export function RunHeader({ run }: { run: Run }) {
  const now = useNow(isLive(run));
  const duration = secondsBetween(run.started_at, run.ended_at, now);
  const { validation_top1: top1, gradient_evaluations: evaluations } = run.latest;
  const facts: (readonly [string, string, string?] | undefined | false)[] = [
    ["Method", methodLabel(run), methodDetail(run)],
    ["Model", run.model],
    ["Workers", `${run.workers}${run.gpus_per_worker > 0 ? " GPU" : " CPU"}`],
    top1 && [
      "Validation top-1",
      formatValue(top1.value, "%"),
      `best ${formatValue(top1.best, "%")} at step ${formatCount(top1.best_step)}`,
    ],
    evaluations && ["Gradient evaluations", formatCount(evaluations.value)],
    duration !== null && ["Duration", formatDuration(Math.floor(duration))],
    run.attempt !== null && ["Attempt", String(run.attempt)],
    ["Owner", run.user],
    ["Submitted", formatAgo(run.created_at, now), formatInstant(run.created_at)],
  ];
  return (
    <header className={classes.header}>
      <Link to="/" className={classes.back}>
        <IconBack size={14} /> Runs
      </Link>
      <div className={classes.titleRow}>
        <Title order={1} size="h2" className={classes.title}>
          {run.name}
        </Title>
        <StatusPill run={run} size="md" />
        <span className={classes.id}>{run.id}</span>
        <div className={classes.actions}>{isLive(run) && <CancelRun run={run} />}</div>
      </div>
      <dl className={classes.facts}>
        {facts
          .filter((fact) => fact !== undefined && fact !== false)
          .map(([term, value, note]) => (
            <div key={term}>
              <dt>{term}</dt>
              <dd>
                {value}
                {note && <span className={classes.note}>{note}</span>}
              </dd>
            </div>
          ))}
      </dl>
      <RunProgress run={run} doing={run.attempts.at(-1)?.doing} />
    </header>
  );
}
