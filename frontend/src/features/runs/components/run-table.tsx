import { Link } from "@tanstack/react-router";
import { memo } from "react";
import type { RunSummary } from "@/api/types";
import { useNow } from "@/components/use-now";
import { formatAgo, formatDuration, formatInstant, secondsBetween } from "@/format/duration";
import { formatValue } from "@/format/number";
import { isLive, methodDetail, methodLabel } from "../describe-run";
import { RunProgress } from "./run-progress";
import classes from "./run-table.module.css";
import { StatusPill } from "./status-pill";

/** The list as a table; on a narrow screen each row folds into a card. */
export function RunTable({ runs }: { runs: readonly RunSummary[] }) {
  return (
    <div className={classes.frame}>
      <table className={classes.table}>
        <caption className={classes.caption}>Runs, newest first</caption>
        <thead>
          <tr>
            <th scope="col">Status</th>
            <th scope="col">Run</th>
            <th scope="col">Method</th>
            <th scope="col" className={classes.progress}>
              Progress
            </th>
            <th scope="col" className={classes.number}>
              Val. top-1
            </th>
            <th scope="col" className={classes.number}>
              Train loss
            </th>
            <th scope="col" className={classes.number}>
              Workers
            </th>
            <th scope="col" className={classes.number}>
              Duration
            </th>
            <th scope="col">Owner</th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <RunRow key={run.id} run={run} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

const RunRow = memo(function RunRow({ run }: { run: RunSummary }) {
  const top1 = run.latest.validation_top1;
  const loss = run.latest.train_loss;
  return (
    <tr className={classes.row}>
      <td className={classes.status}>
        <StatusPill run={run} withReason />
      </td>
      <td className={classes.name}>
        <Link to="/runs/$runId" params={{ runId: run.id }} className={classes.link} title={run.name}>
          {run.name}
        </Link>
        <span className={classes.second}>
          {run.id} · {run.model}
        </span>
      </td>
      <td className={classes.method}>
        {methodLabel(run)}
        <span className={classes.second}>{methodDetail(run)}</span>
      </td>
      <td className={classes.progress}>
        <RunProgress run={run} />
      </td>
      <td className={classes.number} data-label="Val. top-1">
        {formatValue(top1?.value, "%")}
        {top1 && <span className={classes.second}>best {formatValue(top1.best, "%")}</span>}
      </td>
      <td className={classes.number} data-label="Train loss">
        {formatValue(loss?.value)}
      </td>
      <td className={classes.number} data-label="Workers">
        {run.workers}
        {run.gpus_per_worker > 0 && <span className={classes.second}>GPU</span>}
      </td>
      <td className={classes.number} data-label="Duration">
        <Duration run={run} />
      </td>
      <td className={classes.owner} data-label="Owner">
        {run.user}
      </td>
    </tr>
  );
});

function Duration({ run }: { run: RunSummary }) {
  const now = useNow(isLive(run));
  return (
    <>
      {formatDuration(wholeAboveTen(secondsBetween(run.started_at, run.ended_at, now)))}
      <span className={classes.second} title={formatInstant(run.created_at)}>
        {formatAgo(run.created_at, now)}
      </span>
    </>
  );
}

/** A running clock with tenths of a second would only flicker. */
function wholeAboveTen(seconds: number | null): number | null {
  return seconds === null ? null : Math.floor(seconds);
}
