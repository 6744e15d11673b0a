import { Select, Switch } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { describeError } from "@/api/client";
import { CopyButton } from "@/components/copy-button";
import { Panel } from "@/components/panel";
import { useConnectionState } from "@/live/live-provider";
import { logTailQuery } from "../api/log-tail";
import { plainLines } from "../plain-lines";
import classes from "./log-panel.module.css";
import { LogView } from "./log-view";

interface LogPanelProps {
  runId: string;
  /** Number of the newest attempt. */
  newestAttempt: number;
  /** Whether lines may still come. */
  live: boolean;
}

/** The tail of an attempt's logs: which attempt, which process, follow or stand still. */
export function LogPanel({ runId, newestAttempt, live }: LogPanelProps) {
  const [chosenAttempt, setAttempt] = useState<number | null>(null);
  const [source, setSource] = useState<string | null>(null);
  const [follow, setFollow] = useState(true);
  const connection = useConnectionState();
  const attempt = chosenAttempt ?? newestAttempt;
  const grows = live && attempt === newestAttempt;
  const tail = useQuery(logTailQuery({ runId, attempt, source, follow: follow && grows && connection !== "lost" }));
  const lines = plainLines(tail.data?.lines ?? []);
  const attempts = Array.from({ length: newestAttempt }, (_, index) => String(newestAttempt - index));

  return (
    <Panel
      title="Log"
      tools={
        <>
          {newestAttempt > 1 && (
            <Select
              aria-label="Attempt"
              size="xs"
              w={112}
              allowDeselect={false}
              data={attempts.map((value) => ({ value, label: `attempt ${value}` }))}
              value={String(attempt)}
              onChange={(value) => setAttempt(Number(value))}
            />
          )}
          {(tail.data?.sources.length ?? 0) > 0 && (
            <Select
              aria-label="Process"
              size="xs"
              w={104}
              allowDeselect={false}
              data={tail.data?.sources ?? []}
              value={source ?? tail.data?.source ?? null}
              onChange={setSource}
            />
          )}
          {grows && (
            <Switch
              size="xs"
              label="Follow"
              checked={follow}
              onChange={(event) => setFollow(event.currentTarget.checked)}
            />
          )}
          <CopyButton text={() => lines.join("\n")} label="Copy" />
        </>
      }
    >
      {tail.isError && !tail.data ? (
        <p className={classes.note}>{describeError(tail.error).detail}</p>
      ) : (
        <LogView
          lines={lines}
          truncated={tail.data?.truncated ?? false}
          follow={follow}
          onLeaveEnd={() => setFollow(false)}
        />
      )}
    </Panel>
  );
}
