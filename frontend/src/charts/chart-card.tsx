import { Paper, useComputedColorScheme } from "@mantine/core";
import { useMemo, useState } from "react";
import { IconLogScale, IconTable, IconZoomOut } from "@/components/icons";
import { MathText } from "@/components/math-text";
import { formatCount, formatValue, unitSuffix } from "@/format/number";
import { CardAction, CardInfo } from "./card-controls";
import classes from "./chart.module.css";
import { ChartLegend } from "./chart-legend";
import { ChartTable } from "./chart-table";
import { ChartTooltip } from "./chart-tooltip";
import { type Hover, LineChart, showWholeRange, useStableShape } from "./line-chart";
import { roleStyle } from "./palette";
import { alignOnStep, type Line, lastPoint, type Marker, positiveOnly, spreadEdges } from "./series";

interface ChartCardProps {
  title: string;
  unit: string;
  /** One sentence on what is drawn and how to read it. */
  description: string;
  lines: Line[];
  /** First and last step of the page's charts, so that they line up. */
  range: readonly [number, number];
  markers?: readonly Marker[];
  /** Offers a logarithmic axis; for quantities that are positive. */
  canBeLogarithmic?: boolean;
  zeroLine?: boolean;
  bounds?: readonly [number, number];
  height?: number;
  /** Said in place of the drawing while there is no point. */
  emptyText: string;
}

/** The charts of a run share cursor and zoom. */
const GROUP = "run";
const NO_MARKERS: readonly Marker[] = [];

/** A chart with title, unit, legend, tooltip, zoom and a table that says the same. */
export function ChartCard(props: ChartCardProps) {
  const { title, unit, description, lines, range, markers = NO_MARKERS, height = 200 } = props;
  const scheme = useComputedColorScheme("light", { getInitialValueInEffect: false });
  const [logarithmic, setLogarithmic] = useState(false);
  const [asTable, setAsTable] = useState(false);
  const [zoomed, setZoomed] = useState(false);
  const [hover, setHover] = useState<Hover | null>(null);
  const [from, to] = range;

  const data = useMemo(() => {
    const drawn = logarithmic ? lines.map(positiveOnly) : lines;
    return alignOnStep([...drawn, ...spreadEdges(drawn)], from, to);
  }, [lines, logarithmic, from, to]);
  const shape = useStableShape({
    group: GROUP,
    x: "step",
    unit: lines[0]?.unit ?? "1",
    lines: lines.map(({ label, role, dots, spread }) => ({
      label,
      ...roleStyle(role, scheme),
      dots,
      hasSpread: spread !== undefined,
    })),
    hoverDots: true,
    markers,
    scheme,
    logarithmic,
    zeroLine: props.zeroLine ?? false,
    bounds: props.bounds,
  });
  const empty = lines.every((line) => line.steps.length === 0);

  return (
    <Paper component="section" aria-label={title} className={classes.card} withBorder>
      <header className={classes.header}>
        <h3 className={classes.title}>
          <MathText>{title}</MathText>
          {unitSuffix(unit) && <span className={classes.unit}>{unitSuffix(unit)}</span>}
        </h3>
        <CardInfo title={title} description={description} />
        <div className={classes.actions}>
          {zoomed && !asTable && (
            <CardAction label="Show the whole range" onClick={() => showWholeRange(GROUP)} icon={<IconZoomOut />} />
          )}
          {props.canBeLogarithmic && !empty && !asTable && (
            <CardAction
              label="Logarithmic axis"
              pressed={logarithmic}
              onClick={() => setLogarithmic(!logarithmic)}
              icon={<IconLogScale />}
            />
          )}
          {!empty && (
            <CardAction
              label="Show as table"
              pressed={asTable}
              onClick={() => setAsTable(!asTable)}
              icon={<IconTable />}
            />
          )}
        </div>
      </header>
      <ChartLegend lines={lines} data={data} hover={asTable ? null : hover} scheme={scheme} />
      {empty && (
        <p className={classes.empty} style={{ height }}>
          {props.emptyText}
        </p>
      )}
      {!empty && asTable && <ChartTable title={title} lines={lines} height={height} />}
      {!empty && !asTable && (
        <div className={classes.stage}>
          <LineChart
            shape={shape}
            data={data}
            height={height}
            label={summary(title, lines)}
            onHover={setHover}
            onZoom={setZoomed}
          />
          <ChartTooltip lines={lines} data={data} hover={hover} scheme={scheme} />
        </div>
      )}
    </Paper>
  );
}

/** What a screen reader hears in place of the drawing. */
function summary(title: string, lines: Line[]): string {
  const parts = lines.map((line) => {
    const last = lastPoint(line);
    return last ? `${line.label} ${formatValue(last.value, line.unit)} at step ${formatCount(last.step)}` : line.label;
  });
  return `${title}. ${parts.join("; ")}. The arrow keys move through the steps; a table is offered.`;
}
