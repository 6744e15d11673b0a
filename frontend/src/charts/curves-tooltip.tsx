import { formatValue } from "@/format/number";
import classes from "./chart.module.css";
import { Swatch } from "./chart-legend";
import type { Reading, RunCurve } from "./curves";
import type { Hover } from "./line-chart";
import type { LineStyle } from "./palette";
import { X_AXES, type XKind } from "./x-axis";

/** Rows that fit beside a chart; of more, those around the one that is looked at. */
const MAX_ROWS = 12;

interface CurvesTooltipProps {
  hover: Hover | null;
  /** Highest value first. */
  readings: readonly Reading[];
  seen: Reading | null;
  x: XKind;
  unit: string;
  withRaw: boolean;
  styleOf: (curve: RunCurve) => LineStyle;
}

/** A card beside the pointer: the runs sorted by their value there; and a dot on the line that is looked at. */
export function CurvesTooltip({ hover, readings, seen, x, unit, withRaw, styleOf }: CurvesTooltipProps) {
  if (!hover?.own || readings.length === 0) return null;
  const side = hover.rightHalf ? { right: `calc(100% - ${hover.left - 16}px)` } : { left: hover.left + 16 };
  const first = Math.max(0, Math.min(seen ? readings.indexOf(seen) - MAX_ROWS / 2 : 0, readings.length - MAX_ROWS));
  const rows = readings.slice(first, first + MAX_ROWS);
  const hidden = readings.length - rows.length;
  return (
    <div className={classes.tooltip} style={{ ...side, top: 8 }}>
      <div className={classes.tooltipStep}>
        {X_AXES[x].label} {X_AXES[x].format(hover.x)}
      </div>
      {rows.map((reading) => (
        <div
          key={`${reading.curve.runId} ${reading.curve.metric}`}
          className={classes.tooltipRow}
          data-seen={reading.curve.runId === seen?.curve.runId || undefined}
        >
          <Swatch style={styleOf(reading.curve)} />
          <span className={classes.tooltipName}>{reading.curve.label}</span>
          <strong>{formatValue(reading.shown, unit)}</strong>
          {withRaw && <span className={classes.tooltipOwn}>raw {formatValue(reading.raw, unit)}</span>}
        </div>
      ))}
      {hidden > 0 && <div className={classes.tooltipOwn}>and {hidden} more</div>}
    </div>
  );
}
