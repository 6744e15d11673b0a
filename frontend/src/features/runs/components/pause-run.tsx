import { Button, Tooltip } from "@mantine/core";
import { describeError } from "@/api/client";
import type { Run } from "@/api/types";
import { isPausable, isPaused } from "@/run/describe-run";
import { usePauseRun } from "../api/runs";

/** Pauses a run that waits or trains, and lets a paused one go on; without a question, since either can be undone. */
export function PauseRun({ run }: { run: Run }) {
  const act = isPaused(run) ? "resume" : "pause";
  const change = usePauseRun(run.id, act);
  if (!isPausable(run) && !isPaused(run)) return null;
  const says =
    act === "resume"
      ? "It waits in the queue and goes on from its last checkpoint"
      : run.status === "queued"
        ? "It leaves the queue until it is resumed"
        : "It saves a checkpoint and gives its slots back until it is resumed";
  return (
    <Tooltip label={change.error ? describeError(change.error).detail : says} withArrow>
      <Button
        size="xs"
        variant="default"
        color={change.error ? "red" : undefined}
        loading={change.isPending}
        onClick={() => change.mutate()}
      >
        {act === "resume" ? "Resume" : "Pause"}
      </Button>
    </Tooltip>
  );
}
