import { useLayoutEffect, useRef } from "react";
import classes from "./log-panel.module.css";

/** A person who scrolls up further than this wants to read, not to follow. */
const AT_END_PX = 40;

interface LogViewProps {
  lines: readonly string[];
  truncated: boolean;
  /** Stays at the newest line. */
  follow: boolean;
  onLeaveEnd: () => void;
}

/** Lines of a log in a box that scrolls. */
export function LogView({ lines, truncated, follow, onLeaveEnd }: LogViewProps) {
  const box = useRef<HTMLDivElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: new lines are what moves the end
  useLayoutEffect(() => {
    if (follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines, follow]);

  if (lines.length === 0) return <p className={classes.note}>No lines yet.</p>;
  return (
    <div
      ref={box}
      role="log"
      aria-live="off"
      aria-label="Log lines"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
      tabIndex={0}
      className={classes.box}
      onWheel={(event) =>
        follow && event.deltaY < 0 && isAwayFromEnd(event.currentTarget, -event.deltaY) && onLeaveEnd()
      }
    >
      {truncated && <div className={classes.cut}>Earlier lines are in the attempt's log folder.</div>}
      {lines.map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a tail has no ids; rows are plain text
        <div key={index} className={classes.line} data-level={levelOf(line)}>
          {line === "" ? " " : line}
        </div>
      ))}
    </div>
  );
}

function isAwayFromEnd(box: HTMLElement, upwards: number): boolean {
  return box.scrollHeight - box.scrollTop - box.clientHeight + upwards > AT_END_PX;
}

function levelOf(line: string): string | undefined {
  if (/\b(error|critical|exception|traceback)\b/i.test(line)) return "error";
  return /\bwarn(ing)?\b/i.test(line) ? "warning" : undefined;
}
