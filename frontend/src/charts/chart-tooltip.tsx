import { MathText } from "@/components/math-text";
import { formatCount, formatValue } from "@/format/number";
import classes from "./chart.module.css";
import { Swatch } from "./chart-legend";
import type { Hover } from "./line-chart";
import { roleStyle, type Scheme } from "./palette";
import type { Aligned, Line } from "./series";

interface ChartTooltipProps {
  lines: readonly Line[];
  data: Aligned;
  hover: Hover | null;
  scheme: Scheme;
}

/** A card beside the pointer: the step and the nearest point of each line, with its own step where that differs. */
export function ChartTooltip({ lines, data, hover, scheme }: ChartTooltipProps) {
  if (!hover?.own) return null;
  const step = data[0][hover.rows[0] ?? -1];
  const rows = lines.flatMap((line, index) => {
    const row = hover.rows[index + 1];
    if (row === null || row === undefined) return [];
    return [{ line, value: data[index + 1]?.[row], step: data[0][row] }];
  });
  if (step === undefined || rows.length === 0) return null;
  const side = hover.rightHalf ? { right: `calc(100% - ${hover.left - 14}px)` } : { left: hover.left + 14 };
  return (
    <div className={classes.tooltip} style={{ ...side, top: Math.max(4, hover.top - 40) }}>
      <div className={classes.tooltipStep}>step {formatCount(rows.length === 1 ? rows[0]?.step : step)}</div>
      {rows.map(({ line, value, step: own }) => (
        <div key={line.label} className={classes.tooltipRow}>
          <Swatch style={roleStyle(line.role, scheme)} />
          <span>
            <MathText>{line.label}</MathText>
          </span>
          <strong>{formatValue(value, line.unit)}</strong>
          {rows.length > 1 && own !== step && <span className={classes.tooltipOwn}>at {formatCount(own)}</span>}
        </div>
      ))}
    </div>
  );
}
