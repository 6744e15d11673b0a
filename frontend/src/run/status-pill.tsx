import { Tooltip } from "@mantine/core";
import type { ReactNode } from "react";
import type { RunStatus, RunSummary } from "@/api/types";
import { reasonWords } from "./describe-run";
import classes from "./status-pill.module.css";

type Tone = "waiting" | "moving" | "good" | "bad" | "off" | "warning";

/** Each status has a shape beside its colour, so that it can be told without one. */
const LOOKS: Record<RunStatus, { tone: Tone; shape: ReactNode }> = {
  queued: { tone: "waiting", shape: <circle cx="6" cy="6" r="4" fill="none" strokeDasharray="2 2" /> },
  launching: { tone: "moving", shape: <circle cx="6" cy="6" r="4" fill="none" /> },
  running: { tone: "moving", shape: <circle cx="6" cy="6" r="4" className={classes.pulse} /> },
  pausing: { tone: "warning", shape: <path d="M4 2.5v7M8 2.5v7" /> },
  paused: { tone: "warning", shape: <path d="M4 2.5v7M8 2.5v7" /> },
  cancelling: { tone: "warning", shape: <path d="M3 9 9 3" /> },
  succeeded: { tone: "good", shape: <path d="m2 6.5 3 3L10 3" fill="none" /> },
  failed: { tone: "bad", shape: <path d="m3 3 6 6M9 3 3 9" /> },
  cancelled: { tone: "off", shape: <path d="M2.5 6h7" /> },
};

interface StatusPillProps {
  run: Pick<RunSummary, "status" | "reason" | "sentence" | "detail" | "silent">;
  /** Adds the reason in a few words beneath, where the status does not say it already. */
  withReason?: boolean;
  size?: "sm" | "md";
}

export function StatusPill({ run, withReason = false, size = "sm" }: StatusPillProps) {
  const { tone, shape } = run.silent ? { tone: "warning" as const, shape: LOOKS.running.shape } : LOOKS[run.status];
  const reason = run.silent
    ? "no sign of life"
    : run.status === "failed" && run.reason
      ? reasonWords(run.reason)
      : null;
  const explanation = [run.sentence, run.detail].filter(Boolean).join(" ");
  return (
    <Tooltip
      label={explanation}
      disabled={explanation === ""}
      multiline
      maw={340}
      withArrow
      position="bottom-start"
      events={{ hover: true, focus: true, touch: true }}
    >
      <span className={classes.host}>
        <span className={classes.pill} data-tone={tone} data-size={size}>
          <svg viewBox="0 0 12 12" width="10" height="10" aria-hidden="true" className={classes.shape}>
            {shape}
          </svg>
          {run.silent ? "silent" : run.status}
        </span>
        {withReason && reason && <span className={classes.reason}>{reason}</span>}
      </span>
    </Tooltip>
  );
}
