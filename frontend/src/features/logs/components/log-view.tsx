import { memo, useLayoutEffect, useRef } from "react";
import { partsAround } from "../log-text";
import classes from "./log-panel.module.css";

/** A person who scrolls up further than this wants to read, not to follow. */
const AT_END_PX = 40;

interface LogViewProps {
  lines: readonly { line: string; index: number }[];
  /** Whether earlier lines are missing. */
  cut: boolean;
  /** Marked where it stands in a line. */
  wanted: string;
  /** Breaks long lines instead of scrolling sideways. */
  wrap: boolean;
  /** Stays at the newest line. */
  follow: boolean;
  emptyText: string;
  onLeaveEnd: () => void;
}

/** Lines of a log in a box that scrolls. */
export function LogView({ lines, cut, wanted, wrap, follow, emptyText, onLeaveEnd }: LogViewProps) {
  const box = useRef<HTMLDivElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: new lines are what moves the end
  useLayoutEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, follow, wrap]);

  if (lines.length === 0) return <p className={classes.none}>{emptyText}</p>;
  return (
    <div
      ref={box}
      role="log"
      aria-live="off"
      aria-label="Log lines"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
      tabIndex={0}
      className={classes.box}
      data-wrap={wrap}
      onWheel={(event) =>
        follow && event.deltaY < 0 && isAwayFromEnd(event.currentTarget, -event.deltaY) && onLeaveEnd()
      }
    >
      {cut && <div className={classes.cut}>Earlier lines are in the download.</div>}
      {lines.map(({ line, index }) => (
        <LogLine key={index} line={line} wanted={wanted} />
      ))}
    </div>
  );
}

const LogLine = memo(function LogLine({ line, wanted }: { line: string; wanted: string }) {
  return (
    <div className={classes.line} data-level={levelOf(line)}>
      {line === ""
        ? " "
        : partsAround(line, wanted).map((part, index) =>
            // biome-ignore lint/suspicious/noArrayIndexKey: the parts of one line never move
            index % 2 === 1 ? <mark key={index}>{part}</mark> : part,
          )}
    </div>
  );
});

function isAwayFromEnd(box: HTMLElement, upwards: number): boolean {
  return box.scrollHeight - box.scrollTop - box.clientHeight + upwards > AT_END_PX;
}

function levelOf(line: string): string | undefined {
  if (/\b(error|critical|exception|traceback)\b/i.test(line)) return "error";
  return /\bwarn(ing)?\b/i.test(line) ? "warning" : undefined;
}
