import { Button, CloseButton } from "@mantine/core";
import { useState } from "react";
import type { RunSummary } from "@/api/types";
import { isLive } from "@/run/describe-run";
import { ACTS, actsOn } from "../acts";
import type { Act } from "../api/changes";
import { ActOnRuns, AddToStudy, CancelRuns, SetPriority } from "./change-runs";
import classes from "./selection-bar.module.css";

interface SelectionBarProps {
  runs: readonly RunSummary[];
  onCompare: () => void;
  onClear: () => void;
}

/** What can be done with the ticked runs. */
export function SelectionBar({ runs, onCompare, onClear }: SelectionBarProps) {
  const [dialog, setDialog] = useState<Act | "cancel" | "priority" | "study" | null>(null);
  const live = runs.filter(isLive);
  const queued = runs.filter(({ status }) => status === "queued");
  const suits = (act: Act) => runs.filter((run) => actsOn(run).some((each) => each.act === act));
  const close = () => setDialog(null);
  return (
    <section className={classes.bar} aria-label="Selected runs">
      <span className={classes.count} aria-live="polite">
        {runs.length} selected
      </span>
      <Button size="xs" onClick={onCompare}>
        Compare
      </Button>
      <Button size="xs" variant="default" onClick={() => setDialog("study")}>
        Add to study
      </Button>
      <Button
        size="xs"
        variant="default"
        disabled={queued.length === 0}
        title={queued.length === 0 ? "Only queued runs have a priority to change" : undefined}
        onClick={() => setDialog("priority")}
      >
        Set priority
      </Button>
      <Button
        size="xs"
        variant="default"
        disabled={live.length === 0}
        title={live.length === 0 ? "All of them are over" : undefined}
        onClick={() => setDialog("cancel")}
      >
        Cancel runs
      </Button>
      {ACTS.filter(({ act }) => suits(act).length > 0).map(({ act, label }) => (
        <Button key={act} size="xs" variant="default" onClick={() => setDialog(act)}>
          {label}
        </Button>
      ))}
      <CloseButton size="sm" aria-label="Drop the selection" onClick={onClear} />
      {dialog === "cancel" && <CancelRuns runs={live} onClose={close} />}
      {dialog === "priority" && <SetPriority runs={queued} onClose={close} />}
      {dialog === "study" && <AddToStudy runs={runs} onClose={close} />}
      {ACTS.map(({ act }) => dialog === act && <ActOnRuns key={act} act={act} runs={suits(act)} onClose={close} />)}
    </section>
  );
}
