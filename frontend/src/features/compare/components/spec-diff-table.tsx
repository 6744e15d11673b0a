import { Switch, useComputedColorScheme } from "@mantine/core";
import { Swatch } from "@/charts/chart-legend";
import { useHighlighter, useIsHighlighted } from "@/charts/highlight";
import { runStyle } from "@/charts/palette";
import { Panel } from "@/components/panel";
import type { ComparedRun } from "../api/compared-runs";
import { type SpecRow, specRows } from "../spec-diff";
import type { CompareProps } from "./compare-view";
import classes from "./tables.module.css";

interface SpecDiffProps extends CompareProps {
  compared: readonly ComparedRun[];
}

/** The specs side by side: a column a run, a row for each path in which they differ. */
export function SpecDiff({ search, onChange, compared }: SpecDiffProps) {
  const baseline = compared.findIndex(({ run }) => run.id === search.baseline);
  const rows = specRows(compared.map(({ run }) => run.spec));
  const shown = search.equal ? rows : rows.filter(({ equal }) => !equal);
  return (
    <Panel
      title="Spec differences"
      tools={
        <Switch
          size="xs"
          label="Show equal too"
          checked={search.equal ?? false}
          onChange={(event) => onChange({ equal: event.currentTarget.checked || undefined })}
        />
      }
    >
      {shown.length === 0 ? (
        <p className={classes.none}>
          {compared.length < 2
            ? "Add a second run to see in what their specs differ."
            : `All ${rows.length} fields are equal: these runs repeat one spec.`}
        </p>
      ) : (
        <div className={classes.scroll}>
          <table className={classes.table} data-kind="spec">
            <thead>
              <tr>
                <th scope="col">Field</th>
                {compared.map((entry, index) => (
                  <RunHead key={entry.run.id} {...entry} isBaseline={index === baseline} />
                ))}
              </tr>
            </thead>
            <tbody>
              {shown.map((row) => (
                <DiffRow key={row.path} row={row} compared={compared} baseline={baseline} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {!search.equal && shown.length > 0 && (
        <p className={classes.foot}>
          {rows.length - shown.length} equal {rows.length - shown.length === 1 ? "field is" : "fields are"} hidden.
          {baseline < 0 && compared.length > 1 && " Choose a baseline above to see differences to one run."}
        </p>
      )}
    </Panel>
  );
}

function RunHead({ run, place, isBaseline }: ComparedRun & { isBaseline: boolean }) {
  const scheme = useComputedColorScheme("light", { getInitialValueInEffect: false });
  const lit = useIsHighlighted(run.id);
  return (
    <th scope="col" data-lit={lit || undefined} {...useHighlighter(run.id)}>
      <span className={classes.nameLine}>
        <Swatch style={runStyle(place, scheme)} />
        <span className={classes.headName} title={run.name} dir="auto">
          {run.name}
        </span>
        {isBaseline && <span className={classes.tag}>baseline</span>}
      </span>
    </th>
  );
}

interface DiffRowProps {
  row: SpecRow;
  compared: readonly ComparedRun[];
  /** Index of the baseline; -1: none. */
  baseline: number;
}

function DiffRow({ row, compared, baseline }: DiffRowProps) {
  const reference = row.values[baseline];
  return (
    <tr>
      <th scope="row" className={classes.path}>
        {row.path}
      </th>
      {row.values.map((value, index) => {
        const state = baseline < 0 || index === baseline ? undefined : value === reference ? "same" : "other";
        return (
          <td key={compared[index]?.run.id} className={classes.specValue} data-state={state} title={value}>
            {value ?? <span className={classes.dim}>not set</span>}
          </td>
        );
      })}
    </tr>
  );
}
