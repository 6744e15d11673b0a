import { useCallback, useEffect, useLayoutEffect, useMemo, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import classes from "./chart.module.css";
import { alphaOf, type ChartShape, chartOptions, linkedPlots } from "./chart-options";
import type { Aligned } from "./series";

/** What lies under the cursor: its x, the row there, and for each line the row of its nearest point. */
export interface Hover {
  x: number;
  /** Where a value is drawn: CSS pixels from the plot area's top. */
  yOf: (value: number) => number;
  rows: (number | null)[];
  /** Cursor position in CSS pixels: `left` from the drawing's left edge, `top` from the plot area's. */
  left: number;
  top: number;
  /** Whether the cursor is in the right half, so that a tooltip belongs to its left. */
  rightHalf: boolean;
  /** Whether the pointer is over this chart, not over one that shares the cursor. */
  own: boolean;
}

interface LineChartProps {
  shape: ChartShape;
  data: Aligned;
  height: number;
  label: string;
  onHover: (hover: Hover | null) => void;
  onZoom: (zoomed: boolean) => void;
  /** A boolean a line: those that are looked at, while the others pale; null: none in particular. */
  emphasis?: readonly boolean[] | null;
}

/**
 * A thin React skin over uPlot: makes the plot anew when its shape changes, feeds it data otherwise, keeps a zoom while
 * points arrive. `shape`, `onHover` and `onZoom` must be stable between renders.
 */
export function LineChart({ shape, data, height, label, onHover, onZoom, emphasis = null }: LineChartProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(data);
  latest.current = data;
  // A plot that is made anew, for another theme or a hidden run, keeps the zoom of its predecessor.
  const view = useRef<{ x: string; min: number; max: number } | null>(null);

  useLayoutEffect(() => {
    const element = host.current;
    if (!element) return;
    const hooks: uPlot.Hooks.Arrays = {
      setLegend: [(self) => onHover(hoverOf(self))],
      setCursor: [(self) => onHover(hoverOf(self))],
      setScale: [
        (self, key) => {
          if (key !== "x") return;
          const zoomed = isZoomed(self);
          const { min, max } = self.scales.x ?? {};
          view.current = zoomed && min !== undefined && max !== undefined ? { x: shape.x, min, max } : null;
          onZoom(zoomed);
        },
      ],
    };
    const kept = view.current;
    const size = { width: element.clientWidth, height };
    const made = new uPlot({ ...chartOptions(shape, hooks), ...size }, latest.current as uPlot.AlignedData, element);
    plot.current = made;
    if (kept?.x === shape.x) made.setScale("x", kept);
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
      onHover(null);
    };
  }, [shape, height, onHover, onZoom]);

  useEffect(() => {
    const current = plot.current;
    if (!current || (current.data as unknown) === data) return;
    const { min, max } = current.scales.x ?? {};
    const zoomed = isZoomed(current);
    current.setData(data as uPlot.AlignedData, !zoomed);
    if (zoomed && min !== undefined && max !== undefined) current.setScale("x", { min, max });
  }, [data]);

  useEffect(() => {
    const current = plot.current;
    if (!current) return;
    shape.lines.forEach((line, index) => {
      const series = current.series[index + 1];
      if (series) series.alpha = alphaOf(line, emphasis && (emphasis[index] ?? false));
    });
    current.redraw(false, false);
  }, [emphasis, shape]);

  return (
    <div
      ref={host}
      role="img"
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the arrow keys move the cursor, so the chart takes the focus
      tabIndex={0}
      className={classes.plot}
      style={{ height }}
      onKeyDown={(event) => plot.current && moveCursor(plot.current, event.key) && event.preventDefault()}
      onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
    />
  );
}

/** Ends the zoom of all charts of a group. */
export function showWholeRange(group: string): void {
  for (const plot of linkedPlots(group)) {
    const xs = plot.data[0];
    plot.setScale("x", { min: xs[0] ?? 0, max: xs[xs.length - 1] ?? 1 });
  }
}

/** One function for good that does what the newest one does: plots keep their handlers. */
export function useLatest<Argument>(handler: (argument: Argument) => void): (argument: Argument) => void {
  const latest = useRef(handler);
  latest.current = handler;
  return useCallback((argument) => latest.current(argument), []);
}

/** The same object as long as its contents are the same: a new one would make the plot anew. */
export function useStableShape(shape: ChartShape): ChartShape {
  const key = JSON.stringify(shape);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key is the shape's contents
  return useMemo(() => shape, [key]);
}

function hoverOf(plot: uPlot): Hover | null {
  const { left = -1, top = -1, idxs, event } = plot.cursor;
  if (left < 0 || !idxs || idxs[0] === null) return null;
  const { offsetLeft, clientWidth } = plot.over;
  return {
    x: plot.posToVal(left, "x"),
    yOf: (value) => plot.valToPos(value, "y"),
    rows: Array.from(idxs, (row) => row ?? null),
    left: offsetLeft + left,
    top,
    rightHalf: left > clientWidth / 2,
    own: event !== null && event !== undefined,
  };
}

function isZoomed(plot: uPlot): boolean {
  const steps = plot.data[0];
  const { min, max } = plot.scales.x ?? {};
  const first = steps[0];
  const last = steps[steps.length - 1];
  if (min === undefined || max === undefined || first === undefined || last === undefined || first === last)
    return false;
  return min > first || max < last;
}

/** Moves the cursor to the next or previous step; returns whether the key meant something. */
function moveCursor(plot: uPlot, key: string): boolean {
  const direction = key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0;
  const steps = plot.data[0];
  if (direction === 0 || steps.length === 0) return false;
  const now = plot.cursor.idx ?? (direction > 0 ? -1 : steps.length);
  const next = steps[Math.min(steps.length - 1, Math.max(0, now + direction))];
  if (next === undefined) return false;
  plot.setCursor({ left: plot.valToPos(next, "x"), top: plot.over.clientHeight / 2 });
  return true;
}
