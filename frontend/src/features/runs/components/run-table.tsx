import { Link } from "@tanstack/react-router";
import { memo, useCallback, useRef } from "react";
import type { RunSummary } from "@/api/types";
import { useNow } from "@/components/use-now";
import { formatAgo, formatDuration, formatInstant, secondsBetween } from "@/format/duration";
import { formatValue } from "@/format/number";
import { isLive, methodDetail, methodLabel } from "@/run/describe-run";
import { StatusPill } from "@/run/status-pill";
import { RowMenu } from "./row-menu";
import { RunProgress } from "./run-progress";
import classes from "./run-table.module.css";

interface RunTableProps {
  runs: readonly RunSummary[];
  selected: ReadonlySet<string>;
  /** Ticks or unticks a run; with `range` all rows from the last one that was ticked. */
  onToggle: (id: string, range: boolean) => void;
  onToggleAll: () => void;
}

/** The list as a table; on a narrow screen each row folds into a card. */
export function RunTable({ runs, selected, onToggle, onToggleAll }: RunTableProps) {
  const count = runs.filter(({ id }) => selected.has(id)).length;
  const toggle = useLatestToggle(onToggle);
  return (
    <div className={classes.frame}>
      <table className={classes.table}>
        <caption className={classes.caption}>Runs, newest first</caption>
        <thead>
          <tr>
            <th scope="col" className={classes.tick}>
              <input
                type="checkbox"
                aria-label="Select all"
                checked={count === runs.length}
                ref={(box) => {
                  if (box) box.indeterminate = count > 0 && count < runs.length;
                }}
                onChange={onToggleAll}
              />
            </th>
            <th scope="col" className={classes.status}>
              Status
            </th>
            <th scope="col">Run</th>
            <th scope="col" className={classes.study}>
              Study
            </th>
            <th scope="col" className={classes.method}>
              Method
            </th>
            <th scope="col" className={classes.progress}>
              Progress
            </th>
            <th scope="col" className={classes.number}>
              Val. top-1
            </th>
            <th scope="col" className={classes.number}>
              Train loss
            </th>
            <th scope="col" className={`${classes.number} ${classes.priority}`} title="Higher starts first">
              Priority
            </th>
            <th scope="col" className={`${classes.number} ${classes.workers}`}>
              Workers
            </th>
            <th scope="col" className={classes.number}>
              Duration
            </th>
            <th scope="col" className={classes.owner}>
              Owner
            </th>
            <th scope="col" className={classes.menu}>
              <span className={classes.caption}>Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <RunRow key={run.id} run={run} isSelected={selected.has(run.id)} onToggle={toggle} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** One function for good, so that a tick renders one row and not three hundred. */
function useLatestToggle(onToggle: RunTableProps["onToggle"]): RunTableProps["onToggle"] {
  const latest = useRef(onToggle);
  latest.current = onToggle;
  return useCallback((id, range) => latest.current(id, range), []);
}

interface RunRowProps {
  run: RunSummary;
  isSelected: boolean;
  onToggle: RunTableProps["onToggle"];
}

const RunRow = memo(function RunRow({ run, isSelected, onToggle }: RunRowProps) {
  const top1 = run.latest.validation_top1;
  const loss = run.latest.train_loss;
  return (
    <tr className={classes.row} data-selected={isSelected || undefined}>
      <td className={classes.tick}>
        <input
          type="checkbox"
          aria-label={`Select ${run.name}`}
          checked={isSelected}
          // The click knows of the shift key, the change does not.
          onClick={(event) => onToggle(run.id, event.shiftKey)}
          onChange={() => {}}
        />
      </td>
      <td className={classes.status}>
        <StatusPill run={run} withReason />
      </td>
      <td className={classes.name}>
        <Link
          to="/runs/$runId"
          params={{ runId: run.id }}
          className={classes.link}
          title={run.name}
          dir="auto"
          data-run={run.id}
        >
          {run.name}
        </Link>
        <span className={classes.second}>
          {run.id} · {run.model}
        </span>
      </td>
      <td className={classes.study}>
        {run.study !== null && (
          <Link to="/" search={{ study: run.study }} className={classes.studyLink} title={run.study} dir="auto">
            {run.study}
          </Link>
        )}
      </td>
      <td className={classes.method}>
        {methodLabel(run)}
        <span className={classes.second} title={methodDetail(run)}>
          {methodDetail(run)}
        </span>
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
      <td
        className={`${classes.number} ${classes.priority}`}
        data-label="Priority"
        data-quiet={run.priority === 0 || undefined}
      >
        {run.priority}
      </td>
      <td className={`${classes.number} ${classes.workers}`} data-label="Workers">
        {run.workers}
        {run.gpus_per_worker > 0 && <span className={classes.second}>GPU</span>}
      </td>
      <td className={classes.number} data-label="Duration">
        <Duration run={run} />
      </td>
      <td className={classes.owner} data-label="Owner" title={run.user}>
        {run.user}
      </td>
      <td className={classes.menu}>
        <RowMenu run={run} />
      </td>
    </tr>
  );
});

function Duration({ run }: { run: RunSummary }) {
  // A clock that runs ticks each second, an age each minute, a finished run not at all.
  const runs = run.started_at !== null && run.ended_at === null;
  const now = useNow(isLive(run), runs ? 1_000 : 60_000);
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
