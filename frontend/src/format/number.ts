const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Steps and counts with thin thousands: "12,000". */
export function formatCount(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : grouped.format(value);
}

/** A metric value with about four significant digits; very small and very large ones in scientific notation. */
export function formatValue(value: number | null | undefined, unit = "1"): string {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return String(value);
  if (unit === "%") return `${value.toFixed(1)} %`;
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size < 1e-3 || size >= 1e7) return value.toExponential(2).replace(/\.?0*e\+?/, "e");
  if (Number.isInteger(value)) return grouped.format(value);
  return size >= 1000
    ? grouped.format(value)
    : value
        .toPrecision(4)
        .replace(/(\.\d*?)0+$/, "$1")
        .replace(/\.$/, "");
}

/** The unit as it follows a title, or nothing where the number is a plain ratio. */
export function unitSuffix(unit: string): string {
  return unit === "1" ? "" : unit;
}
