import { ScrollArea, Table } from "@mantine/core";
import { CopyButton } from "@/components/copy-button";
import { formatCount, formatValue } from "@/format/number";
import classes from "./chart.module.css";
import { type Line, tableRows, toCsv } from "./series";

/** More rows than this make a page slow and nobody reads them; the copied CSV holds all. */
const MAX_ROWS = 200;

interface ChartTableProps {
  title: string;
  lines: readonly Line[];
  height: number;
}

/** The points of a chart as a table, newest first. */
export function ChartTable({ title, lines, height }: ChartTableProps) {
  const rows = tableRows(lines, MAX_ROWS);
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
              <Table.Th scope="col">Step</Table.Th>
              {lines.map((line) => (
                <Table.Th key={line.label} scope="col">
                  {line.label}
                </Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {rows.map((row) => (
              <Table.Tr key={row.step}>
                <Table.Td>{formatCount(row.step)}</Table.Td>
                {row.values.map((value, index) => (
                  <Table.Td key={lines[index]?.label}>
                    {value === null ? "" : formatValue(value, lines[index]?.unit)}
                  </Table.Td>
                ))}
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </ScrollArea>
      <div className={classes.tableFoot}>
        <span>{rows.length === MAX_ROWS ? `The newest ${MAX_ROWS} points` : `${rows.length} points`}</span>
        <CopyButton text={() => toCsv(lines)} label="Copy all as CSV" />
      </div>
    </div>
  );
}
