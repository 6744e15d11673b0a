import { Paper, useComputedColorScheme } from "@mantine/core";
import { useMemo, useState } from "react";
import { IconTable, IconZoomOut } from "@/components/icons";
import { MathText } from "@/components/math-text";
import { formatValue, unitSuffix } from "@/format/number";
import { CardAction, CardInfo } from "./card-controls";
import classes from "./chart.module.css";
import { Swatch } from "./chart-legend";
import type { LineShape } from "./chart-options";
import { columnsOf, type DrawnCurve, drawn, isPositive, nearestReading, type RunCurve, readingsAt } from "./curves";
import { CurvesTable } from "./curves-table";
import { CurvesTooltip } from "./curves-tooltip";
import { useHighlight, useHighlighted } from "./highlight";
import { type Hover, LineChart, showWholeRange, useLatest, useStableShape } from "./line-chart";
import { type LineStyle, runStyle, type Scheme } from "./palette";
import { lastPoint } from "./series";
import { X_AXES, type XKind } from "./x-axis";

/** The charts of a comparison share cursor and zoom. */
const GROUP = "compare";
const NO_MARKERS: readonly never[] = [];
/** How near to a line, in CSS pixels, the pointer must be to mean it. */
const LINE_REACH = 36;
/** Curves of so few points show each of them. */
const FEW_POINTS = 30;
/** How far beyond its end, as a share of the range, a curve is still named. */
const END_SLACK = 0.02;

export interface CurvesCardProps {
  title: string;
  unit: string;
  description: string;
  /** Names of the chart's metrics, in the order of `RunCurve.metric`, where it has more than one. */
  metrics: readonly string[];
  curves: readonly RunCurve[];
  x: XKind;
  /** First and last x of the page's charts, so that they line up. */
  range: readonly [number, number];
  /** Smoothing weight in [0, 1). */
  smoothing: number;
  logarithmic: boolean;
  zeroLine?: boolean;
  bounds?: readonly [number, number];
  height?: number;
  emptyText: string;
}

/** One or two metrics of several runs: a colour a run, a dash a metric; the raw values pale behind smoothed lines. */
export function CurvesCard(props: CurvesCardProps) {
  const { title, curves, x, range, smoothing, metrics, height = 240 } = props;
  const [from, to] = range;
  const scheme = useComputedColorScheme("light", { getInitialValueInEffect: false });
  const [asTable, setAsTable] = useState(false);
  const [zoomed, setZoomed] = useState(false);
  const lines = useMemo(() => drawn(curves, smoothing, to - from), [curves, smoothing, from, to]);
  const empty = lines.every(({ xs }) => xs.length === 0);
  const linear = props.logarithmic && !isPositive(lines);
  return (
    <Paper component="section" aria-label={title} className={classes.card} withBorder>
      <header className={classes.header}>
        <h3 className={classes.title}>
          <MathText>{title}</MathText>
          {unitSuffix(props.unit) && <span className={classes.unit}>{unitSuffix(props.unit)}</span>}
        </h3>
        <CardInfo title={title} description={props.description} />
        <div className={classes.actions}>
          {zoomed && !asTable && (
            <CardAction label="Show the whole range" onClick={() => showWholeRange(GROUP)} icon={<IconZoomOut />} />
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
      {(metrics.length > 1 || (linear && !empty)) && (
        <div className={classes.legend}>
          {metrics.length > 1 &&
            metrics.map((metric, index) => (
              <span key={metric} className={classes.legendKey}>
                <Swatch style={{ ...runStyle(0, scheme, index, metrics.length), color: "currentColor" }} /> {metric}
              </span>
            ))}
          {linear && !empty && <span className={classes.legendName}>linear: not all values are above 0</span>}
        </div>
      )}
      {empty && (
        <p className={classes.empty} style={{ height }}>
          {props.emptyText}
        </p>
      )}
      {!empty && asTable && <CurvesTable title={title} curves={lines} unit={props.unit} x={x} height={height} />}
      {!empty && !asTable && (
        <Drawing {...props} lines={lines} linear={linear} scheme={scheme} height={height} onZoom={setZoomed} />
      )}
    </Paper>
  );
}

interface DrawingProps extends CurvesCardProps {
  lines: readonly DrawnCurve[];
  linear: boolean;
  scheme: Scheme;
  height: number;
  onZoom: (zoomed: boolean) => void;
}

function Drawing(props: DrawingProps) {
  const { title, unit, lines, x, range, smoothing, metrics, scheme, height } = props;
  const [from, to] = range;
  const [hover, setHover] = useState<Hover | null>(null);
  const highlight = useHighlight();
  const highlighted = useHighlighted();
  const withRaw = smoothing > 0;
  const data = useMemo(() => columnsOf(lines, withRaw, from, to), [lines, withRaw, from, to]);
  const styleOf = (curve: RunCurve) => runStyle(curve.place, scheme, curve.metric, metrics.length);
  const shapes = lines.map((curve) => shapeOf(curve, styleOf(curve)));
  const shape = useStableShape({
    group: GROUP,
    x,
    unit,
    lines: withRaw ? [...shapes.map((line) => ({ ...line, faint: true, dots: false })), ...shapes] : shapes,
    markers: NO_MARKERS,
    scheme,
    logarithmic: props.logarithmic && !props.linear,
    zeroLine: props.zeroLine ?? false,
    bounds: props.bounds,
    hoverDots: false,
  });
  const emphasis = useMemo(() => {
    const own = lines.map(({ runId }) => runId === highlighted);
    return own.includes(true) ? (withRaw ? [...own, ...own] : own) : null;
  }, [lines, highlighted, withRaw]);

  const readings = useMemo(
    () => (hover?.own ? readingsAt(lines, hover.x, (to - from) * END_SLACK) : []),
    [hover, lines, from, to],
  );
  const seen = hover?.own ? nearestReading(readings, hover.top, hover.yOf, LINE_REACH) : null;
  const look = (next: Hover | null) => {
    setHover(next);
    if (!next?.own) return;
    const near = nearestReading(readingsAt(lines, next.x, (to - from) * END_SLACK), next.top, next.yOf, LINE_REACH);
    highlight.set(near?.curve.runId ?? null);
  };
  const onHover = useLatest(look);
  return (
    <div className={classes.stage} onPointerLeave={() => highlight.set(null)}>
      <LineChart
        shape={shape}
        data={data}
        height={height}
        label={summary(title, lines, unit, x)}
        onHover={onHover}
        onZoom={props.onZoom}
        emphasis={emphasis}
      />
      <CurvesTooltip
        hover={hover}
        readings={readings}
        seen={seen}
        x={x}
        unit={unit}
        withRaw={withRaw}
        styleOf={styleOf}
      />
    </div>
  );
}

function shapeOf(curve: RunCurve, style: LineStyle): LineShape {
  return { label: curve.label, ...style, dots: curve.xs.length <= FEW_POINTS ? true : undefined };
}

/** What a screen reader hears in place of the drawing. */
function summary(title: string, lines: readonly DrawnCurve[], unit: string, x: XKind): string {
  const parts = lines.map((line) => {
    const last = lastPoint({ steps: line.xs, values: line.values });
    return last
      ? `${line.label} ${formatValue(last.value, unit)} at ${X_AXES[x].label.toLowerCase()} ${X_AXES[x].format(last.step)}`
      : `${line.label}: no points`;
  });
  return `${title}. ${parts.join("; ")}. The arrow keys move through the points; a table is offered.`;
}
