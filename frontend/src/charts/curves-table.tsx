import { ScrollArea, Table } from "@mantine/core";
import { CopyButton } from "@/components/copy-button";
import { formatValue } from "@/format/number";
import classes from "./chart.module.css";
import type { DrawnCurve } from "./curves";
import { alignOnX, csvText } from "./series";
import { X_AXES, type XKind } from "./x-axis";

/** More rows than this make a page slow and nobody reads them; the copied CSV holds all. */
const MAX_ROWS = 200;

interface CurvesTableProps {
  title: string;
  curves: readonly DrawnCurve[];
  unit: string;
  x: XKind;
  height: number;
}

/** The points of a chart over several runs as a table, the furthest first; raw values, whatever the smoothing. */
export function CurvesTable({ title, curves, unit, x, height }: CurvesTableProps) {
  const [xs, ...columns] = alignOnX(curves);
  const rows = xs.map((at, index) => ({ at, values: columns.map((column) => column[index] ?? null) }));
  const shown = rows.slice(-MAX_ROWS).reverse();
  const csv = () =>
    csvText(
      [X_AXES[x].label, ...curves.map(({ label }) => label)],
      rows.map(({ at, values }) => [at, ...values]),
    );
  return (
    <div className={classes.tableHost} style={{ height }}>
      <ScrollArea
        h={height - 34}
        type="auto"
        viewportProps={{ tabIndex: 0, role: "region", "aria-label": `${title}, table` }}
      >
        <Table stickyHeader verticalSpacing={3} fz="xs" className={classes.table}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th scope="col">{X_AXES[x].label}</Table.Th>
              {curves.map((curve) => (
                <Table.Th key={`${curve.runId} ${curve.metric}`} scope="col" className={classes.tableName}>
                  <span title={curve.label}>{curve.label}</span>
                </Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {shown.map(({ at, values }) => (
              <Table.Tr key={at}>
                <Table.Td>{X_AXES[x].format(at)}</Table.Td>
                {values.map((value, index) => (
                  <Table.Td key={`${curves[index]?.runId} ${curves[index]?.metric}`}>
                    {value === null ? "" : formatValue(value, unit)}
                  </Table.Td>
                ))}
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </ScrollArea>
      <div className={classes.tableFoot}>
        <span>{rows.length > MAX_ROWS ? `The furthest ${MAX_ROWS} points` : `${rows.length} points`}</span>
        <CopyButton text={csv} label="Copy all as CSV" />
      </div>
    </div>
  );
}
