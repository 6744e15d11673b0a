import uPlot from "uplot";
import { formatValue } from "@/format/number";
import { chromeOf, type LineStyle, type Scheme } from "./palette";
import type { Marker } from "./series";
import { X_AXES, type XKind } from "./x-axis";

const FONT = '11px "Inter Variable", system-ui, sans-serif';
/** Distances between ticks of whole things: 1, 2, 5, 10, ... since there is no half step. */
const WHOLE_STEPS = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
/** Distances between ticks of a time in seconds, up to a day; beyond that whole days. */
const TIME_STEPS = [
  ...[0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800],
  ...WHOLE_STEPS.map((days) => days * 86_400),
];
/** How near, in CSS pixels, a point must be to the cursor to be named in legend and tooltip. */
const HOVER_REACH = 80;

export interface LineShape extends LineStyle {
  label: string;
  dots?: boolean;
  /** Whether two more columns, behind those of all lines, hold its spread (`spreadEdges`). */
  hasSpread?: boolean;
  /** Drawn thin and pale, and without answer to the cursor: the raw values behind a smoothed line. */
  faint?: boolean;
}

export interface ChartShape {
  /** Charts of one group share cursor and zoom. */
  group: string;
  x: XKind;
  unit: string;
  lines: readonly LineShape[];
  markers: readonly Marker[];
  scheme: Scheme;
  logarithmic: boolean;
  /** Draws a thin line at 0, for quantities whose sign matters. */
  zeroLine: boolean;
  /** The range that values of this kind can have, e.g. [0, 100] for percentages; the axis stays inside. */
  bounds?: readonly [number, number];
  /** Whether each line answers the cursor with a dot at its nearest point. */
  hoverDots: boolean;
}

/** All that uPlot needs besides data and size. */
export function chartOptions(shape: ChartShape, hooks: uPlot.Hooks.Arrays): Omit<uPlot.Options, "width" | "height"> {
  const chrome = chromeOf(shape.scheme);
  const axis = { stroke: chrome.axis, font: FONT, ticks: { show: false }, border: { show: false } };
  return {
    legend: { show: false },
    padding: [12, 12, 0, 0],
    cursor: {
      sync: { key: shape.group, scales: ["x", null] },
      drag: { x: true, y: false, dist: 6 },
      hover: { prox: HOVER_REACH, skip: [null, undefined] },
      points: shape.hoverDots
        ? { size: 8, width: 2, fill: hoverColor(shape), stroke: hoverColor(shape) }
        : { show: false },
      y: false,
    },
    scales: {
      x: { time: false },
      y: { distr: shape.logarithmic ? 3 : 1, range: shape.logarithmic ? undefined : boundedRange(shape.bounds) },
    },
    axes: [
      {
        ...axis,
        size: 28,
        gap: 6,
        space: 70,
        incrs: tickSteps(shape.x),
        grid: { show: false },
        values: (_, ticks) => ticks.map(X_AXES[shape.x].format),
      },
      {
        ...axis,
        gap: 6,
        space: 34,
        size: axisWidth,
        grid: { stroke: chrome.grid, width: 1 },
        values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : formatTick(tick, shape.unit))),
      },
    ],
    series: [{}, ...shape.lines.map(seriesOptions), ...spreadSeries(shape)],
    bands: spreadBands(shape),
    hooks: { ...hooks, drawAxes: [(plot) => drawGuides(plot, shape)] },
  };
}

/** Charts that share the cursor, for resetting the zoom of all at once. */
export function linkedPlots(group: string): uPlot[] {
  return uPlot.sync(group).plots;
}

const FAINT_ALPHA = 0.28;
/** How pale a line gets while another one is looked at. */
const DIMMED_ALPHA = 0.14;

/** How opaque each line is drawn while `emphasised` (null: none in particular) are looked at. */
export function alphaOf(line: LineShape, emphasised: boolean | null): number {
  if (emphasised === false) return line.faint ? 0.05 : DIMMED_ALPHA;
  return line.faint ? FAINT_ALPHA : 1;
}

function seriesOptions(line: LineShape): uPlot.Series {
  const shared = { label: line.label, stroke: line.color, dash: [...line.dash], alpha: alphaOf(line, null) };
  if (line.faint) return { ...shared, dash: [], width: 1, points: { show: false } };
  // A single point draws no line, so it needs its dot.
  return { ...shared, width: 2, points: { show: line.dots ? true : showLonePoint, size: 6, fill: line.color } };
}

function tickSteps(x: XKind): number[] | undefined {
  if (x === "seconds") return TIME_STEPS;
  return X_AXES[x].whole ? WHOLE_STEPS : undefined;
}

function spreadSeries(shape: ChartShape): uPlot.Series[] {
  const edge: uPlot.Series = { width: 0, points: { show: false } };
  return shape.lines.flatMap(({ hasSpread }) => (hasSpread ? [edge, edge] : []));
}

function spreadBands(shape: ChartShape): uPlot.Band[] {
  return shape.lines
    .filter(({ hasSpread }) => hasSpread)
    .map(({ color }, index) => {
      const upper = shape.lines.length + 1 + 2 * index;
      return { series: [upper, upper + 1], fill: `${color}2e` };
    });
}

function showLonePoint(plot: uPlot, index: number): boolean {
  const column = plot.data[index] ?? [];
  return Array.from(column).filter((value) => value !== null && value !== undefined).length < 2;
}

/** Only lines answer the cursor with a dot, not the edges of their spreads. */
function hoverColor(shape: ChartShape): uPlot.Cursor.Points.Fill {
  return (_plot, index) => {
    const line = shape.lines[index - 1];
    return line ? line.color : "transparent";
  };
}

function boundedRange(bounds: ChartShape["bounds"]): uPlot.Scale.Range {
  return (_plot, min, max) => {
    if (min === null || max === null) return [0, 1];
    const [low, high] = uPlot.rangeNum(min, max, 0.1, true);
    if (!bounds) return [low, high];
    return [Math.max(low ?? bounds[0], bounds[0]), Math.min(high ?? bounds[1], bounds[1])];
  };
}

/** As wide as the longest label, at least 46 pixels so that stacked charts line up. */
function axisWidth(plot: uPlot, labels: string[] | null): number {
  if (!labels) return 46;
  plot.ctx.font = FONT;
  const widest = Math.max(...labels.map((label) => plot.ctx.measureText(label).width));
  return Math.max(46, Math.ceil(widest) + 14);
}

function formatTick(tick: number, unit: string): string {
  return unit === "%" ? `${Math.round(tick * 10) / 10}` : formatValue(tick, unit);
}

function drawGuides(plot: uPlot, shape: ChartShape): void {
  const { ctx, bbox } = plot;
  const chrome = chromeOf(shape.scheme);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top - 12 * uPlot.pxRatio, bbox.width, bbox.height + 12 * uPlot.pxRatio);
  ctx.clip();
  ctx.lineWidth = uPlot.pxRatio;
  if (shape.zeroLine && !shape.logarithmic) {
    const y = Math.round(plot.valToPos(0, "y", true));
    drawLine(ctx, chrome.reference, [], [bbox.left, y], [bbox.left + bbox.width, y]);
  }
  const { min = 0, max = 0 } = plot.scales.x ?? {};
  for (const marker of shape.markers.filter(({ step }) => step >= min && step <= max)) {
    const x = Math.round(plot.valToPos(marker.step, "x", true));
    drawLine(ctx, chrome.marker, [4, 4], [x, bbox.top], [x, bbox.top + bbox.height]);
    ctx.fillStyle = chrome.marker;
    ctx.font = FONT.replace("11px", `${10 * uPlot.pxRatio}px`);
    ctx.textBaseline = "bottom";
    ctx.textAlign = x > bbox.left + bbox.width * 0.8 ? "right" : "left";
    ctx.fillText(marker.label, x, bbox.top - uPlot.pxRatio);
  }
  ctx.restore();
}

function drawLine(
  ctx: CanvasRenderingContext2D,
  stroke: string,
  dash: number[],
  from: [number, number],
  to: [number, number],
): void {
  ctx.strokeStyle = stroke;
  ctx.setLineDash(dash.map((length) => length * uPlot.pxRatio));
  ctx.beginPath();
  ctx.moveTo(...from);
  ctx.lineTo(...to);
  ctx.stroke();
}
