import type { LogTail } from "@/api/types";

/** Lines that a page keeps of one log; more of them make it slow, and the download has all. */
export const MAX_KEPT = 5_000;

/** A log as far as the page has read it. */
export interface LogText {
  source: string | null;
  sources: readonly string[];
  lines: readonly string[];
  /** Whether there are earlier lines that are not here. */
  cut: boolean;
  /** Bytes read so far, for asking for what follows. */
  end: number;
}

/** The first answer: the log's last lines. */
export function firstText({ source, sources, lines, truncated, end }: LogTail): LogText {
  return { source, sources, lines, cut: truncated, end };
}

/** What was known, with the lines of an answer that begins behind it. */
export function continuedText(known: LogText, answer: LogTail): LogText {
  // A log that shrank is another one: an answer must not begin before what was known.
  if (answer.source !== known.source || answer.end < known.end) return firstText({ ...answer, truncated: true });
  if (answer.lines.length === 0) return { ...known, sources: answer.sources, end: answer.end };
  const lines = [...known.lines, ...answer.lines];
  const cut = known.cut || lines.length > MAX_KEPT;
  return { ...known, sources: answer.sources, lines: lines.slice(-MAX_KEPT), cut, end: answer.end };
}

/** Lines that hold the text, whatever the case, with their place in the log; all of them for an empty text. */
export function matchingLines(lines: readonly string[], wanted: string): { line: string; index: number }[] {
  const all = lines.map((line, index) => ({ line, index }));
  if (wanted === "") return all;
  const lower = wanted.toLowerCase();
  return all.filter(({ line }) => line.toLowerCase().includes(lower));
}

/** A line in parts, every second of which is the wanted text. */
export function partsAround(line: string, wanted: string): string[] {
  if (wanted === "") return [line];
  const parts: string[] = [];
  const lower = line.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(wanted.toLowerCase()); at >= 0; at = lower.indexOf(wanted.toLowerCase(), from)) {
    parts.push(line.slice(from, at), line.slice(at, at + wanted.length));
    from = at + wanted.length;
  }
  return [...parts, line.slice(from)];
}
