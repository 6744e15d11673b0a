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
  if (unit === "B") return formatBytes(value);
  if (size < 1e-3 || size >= 1e7) return value.toExponential(2).replace(/\.?0*e\+?/, "e");
  if (Number.isInteger(value)) return grouped.format(value);
  return size >= 1000
    ? grouped.format(value)
    : value
        .toPrecision(4)
        .replace(/(\.\d*?)0+$/, "$1")
        .replace(/\.$/, "");
}

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Three digits or more and a binary prefix: "1.5 GiB". */
function formatBytes(value: number): string {
  const power = Math.min(BINARY.length - 1, Math.max(0, Math.floor(Math.log2(Math.abs(value)) / 10)));
  const scaled = value / 1024 ** power;
  return `${Math.abs(scaled) >= 100 ? grouped.format(scaled) : Number(scaled.toPrecision(3))} ${BINARY[power]}`;
}

/** The unit as it follows a title, or nothing where the number is a plain ratio or carries it itself. */
export function unitSuffix(unit: string): string {
  return unit === "1" || unit === "B" ? "" : unit;
}
