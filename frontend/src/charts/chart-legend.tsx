import { MathText } from "@/components/math-text";
import { formatValue } from "@/format/number";
import classes from "./chart.module.css";
import type { Hover } from "./line-chart";
import { type LineStyle, roleStyle, type Scheme } from "./palette";
import { type Aligned, type Line, lastPoint } from "./series";

interface ChartLegendProps {
  lines: readonly Line[];
  data: Aligned;
  hover: Hover | null;
  scheme: Scheme;
}

/** Each line's stroke, name and value: the last one, or the one under the cursor. */
export function ChartLegend({ lines, data, hover, scheme }: ChartLegendProps) {
  return (
    <ul className={classes.legend}>
      {lines.map((line, index) => (
        <li key={line.label}>
          <Swatch style={roleStyle(line.role, scheme)} />
          <span className={classes.legendName}>
            <MathText>{line.label}</MathText>
          </span>
          <span className={classes.legendValue}>
            {formatValue(hover ? hoveredValue(data, hover, index) : lastPoint(line)?.value, line.unit)}
          </span>
        </li>
      ))}
    </ul>
  );
}

/** The value of line `index` nearest to the cursor, or null. */
export function hoveredValue(data: Aligned, hover: Hover, index: number): number | null {
  const row = hover.rows[index + 1];
  return row === null || row === undefined ? null : (data[index + 1]?.[row] ?? null);
}

/** A short piece of the line as it is drawn, dashes included. */
export function Swatch({ style }: { style: LineStyle }) {
  return (
    <svg width="18" height="8" viewBox="0 0 18 8" aria-hidden="true" className={classes.swatch}>
      <line
        x1="1"
        x2="17"
        y1="4"
        y2="4"
        stroke={style.color}
        strokeWidth="2.5"
        strokeDasharray={style.dash.join(" ")}
      />
    </svg>
  );
}
