import { ActionIcon, Tooltip, useComputedColorScheme } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { Swatch } from "@/charts/chart-legend";
import { useHighlighter, useIsHighlighted } from "@/charts/highlight";
import { runStyle } from "@/charts/palette";
import { IconClose, IconEye, IconEyeOff } from "@/components/icons";
import { Panel } from "@/components/panel";
import { methodLabel, percentDone } from "@/run/describe-run";
import { StatusPill } from "@/run/status-pill";
import type { AbsentRun, ComparedRun } from "../api/compared-runs";
import { listOf, toggled, withoutRun, wordsOf } from "../compare-search";
import { AddRun } from "./add-run";
import classes from "./compare.module.css";
import type { CompareProps } from "./compare-view";

interface RunLegendProps extends CompareProps {
  compared: readonly ComparedRun[];
  absent: readonly AbsentRun[];
}

/** The compared runs with their colours: hide, take out, add. */
export function RunLegend({ search, onChange, compared, absent }: RunLegendProps) {
  const named = wordsOf(search.runs);
  const hidden = new Set(wordsOf(search.hidden));
  const known = [...compared.map(({ run }) => run.id), ...absent.map(({ id }) => id)];
  const allHidden = compared.every(({ run }) => hidden.has(run.id));
  return (
    <aside className={classes.legend} aria-label="Compared runs">
      <Panel
        title={compared.length === 1 ? "1 run" : `${compared.length} runs`}
        tools={
          compared.length > 1 && (
            <button
              type="button"
              className={classes.plain}
              onClick={() => onChange({ hidden: allHidden ? undefined : listOf(compared.map(({ run }) => run.id)) })}
            >
              {allHidden ? "Show all" : "Hide all"}
            </button>
          )
        }
      >
        <ul className={classes.runs}>
          {compared.map((entry) => (
            <LegendRow
              key={entry.run.id}
              {...entry}
              isHidden={hidden.has(entry.run.id)}
              onToggle={() => onChange({ hidden: toggled(search.hidden, entry.run.id) })}
              onRemove={
                named.includes(entry.run.id)
                  ? () => {
                      const { runs, hidden, baseline } = withoutRun(search, entry.run.id);
                      onChange({ runs, hidden, baseline });
                    }
                  : undefined
              }
            />
          ))}
        </ul>
        <AddRun known={known} onAdd={(id) => onChange({ runs: listOf([...named, id]) })} />
      </Panel>
    </aside>
  );
}

interface LegendRowProps extends ComparedRun {
  isHidden: boolean;
  onToggle: () => void;
  /** Absent for a run that is here by its study. */
  onRemove?: () => void;
}

function LegendRow({ run, place, isHidden, onToggle, onRemove }: LegendRowProps) {
  const scheme = useComputedColorScheme("light", { getInitialValueInEffect: false });
  const lit = useIsHighlighted(run.id);
  const highlighter = useHighlighter(run.id);
  const percent = percentDone(run);
  // Runs are often named by their method; once is enough.
  const method = run.name.includes(methodLabel(run)) ? "" : methodLabel(run);
  return (
    <li className={classes.run} data-hidden={isHidden || undefined} data-lit={lit || undefined} {...highlighter}>
      <Swatch style={runStyle(place, scheme)} />
      <div className={classes.runText}>
        <Link to="/runs/$runId" params={{ runId: run.id }} className={classes.runName} title={run.name} dir="auto">
          {run.name}
        </Link>
        <div className={classes.runNote}>
          <StatusPill run={run} />
          <span title={method}>
            {run.status === "running" && percent !== null ? `${Math.floor(percent)} %` : method}
          </span>
        </div>
      </div>
      <LegendAction
        label={isHidden ? `Show ${run.name}` : `Hide ${run.name}`}
        short={isHidden ? "Show" : "Hide"}
        onClick={onToggle}
      >
        {isHidden ? <IconEyeOff /> : <IconEye />}
      </LegendAction>
      {onRemove && (
        <LegendAction label={`Take ${run.name} out`} short="Take out" onClick={onRemove}>
          <IconClose />
        </LegendAction>
      )}
    </li>
  );
}

interface LegendActionProps {
  label: string;
  short: string;
  onClick: () => void;
  children: React.ReactNode;
}

function LegendAction({ label, short, onClick, children }: LegendActionProps) {
  return (
    <Tooltip label={short} withArrow>
      <ActionIcon variant="subtle" color="gray" size="sm" aria-label={label} onClick={onClick}>
        {children}
      </ActionIcon>
    </Tooltip>
  );
}
