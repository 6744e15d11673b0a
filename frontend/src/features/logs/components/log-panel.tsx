import { Button, Select, Switch, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { describeError } from "@/api/client";
import { CopyButton } from "@/components/copy-button";
import { IconDownload } from "@/components/icons";
import { Panel } from "@/components/panel";
import { Loading } from "@/components/state-messages";
import { formatCount } from "@/format/number";
import { useConnectionState } from "@/live/live-provider";
import { type LogAddress, logQuery, wholeLog } from "../api/log";
import { matchingLines } from "../log-text";
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

/** An attempt's logs: which attempt, which process, follow or stand still, search, wrap, download. */
export function LogPanel({ runId, newestAttempt, live }: LogPanelProps) {
  const [chosenAttempt, setAttempt] = useState<number | null>(null);
  const [chosenSource, setSource] = useState<string | null>(null);
  const [follow, setFollow] = useState(true);
  const [wrap, setWrap] = useState(true);
  const [wanted, setWanted] = useState("");
  const connection = useConnectionState();
  const attempt = chosenAttempt ?? newestAttempt;
  const grows = live && attempt === newestAttempt;
  const address: LogAddress = { runId, attempt, source: chosenSource };
  const log = useQuery(logQuery(address, follow && grows && connection !== "lost"));
  const { refetch } = log;
  const grew = useRef(grows);
  useEffect(() => {
    // The last lines are written when the run ends, which is when following ends.
    if (grew.current && !grows) void refetch();
    grew.current = grows;
  }, [grows, refetch]);
  const known = log.data?.lines;
  const lines = useMemo(() => plainLines(known ?? []), [known]);
  const shown = useMemo(() => matchingLines(lines, wanted), [lines, wanted]);
  const source = chosenSource ?? log.data?.source ?? null;
  const attempts = Array.from({ length: newestAttempt }, (_, index) => String(newestAttempt - index));
  const chooseAttempt = (value: string | null) => {
    setAttempt(Number(value));
    // Another attempt may have had other processes.
    setSource(null);
  };

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
              onChange={chooseAttempt}
            />
          )}
          {log.data && log.data.sources.length > 0 && (
            <Select
              aria-label="Process"
              size="xs"
              w={110}
              allowDeselect={false}
              data={[...log.data.sources]}
              value={source}
              onChange={setSource}
            />
          )}
          <TextInput
            aria-label="Search in the log"
            placeholder="Search"
            size="xs"
            w={160}
            value={wanted}
            onChange={(event) => setWanted(event.currentTarget.value)}
            type="search"
          />
          {wanted !== "" && <span className={classes.count}>{countWords(shown.length)}</span>}
          <Switch size="xs" label="Wrap" checked={wrap} onChange={(event) => setWrap(event.currentTarget.checked)} />
          {grows && (
            <Switch
              size="xs"
              label="Follow"
              checked={follow}
              onChange={(event) => setFollow(event.currentTarget.checked)}
            />
          )}
          <CopyButton text={() => shown.map(({ line }) => line).join("\n")} label="Copy" />
          {source && <DownloadLog log={{ ...address, source }} />}
        </>
      }
    >
      {log.isPending && <Loading label="Loading the log" />}
      {log.isError && !log.data && <p className={classes.none}>{describeError(log.error).detail}</p>}
      {log.data && (
        <LogView
          lines={shown}
          cut={log.data.cut}
          wanted={wanted}
          wrap={wrap}
          follow={follow}
          emptyText={wanted === "" ? "No lines yet." : `No line has “${wanted}”.`}
          onLeaveEnd={() => setFollow(false)}
        />
      )}
    </Panel>
  );
}

function countWords(count: number): string {
  return count === 1 ? "1 line" : `${formatCount(count)} lines`;
}

/** Saves the whole log, also what the page has not read. */
function DownloadLog({ log }: { log: LogAddress }) {
  const whole = useMutation({
    mutationFn: () => wholeLog(log),
    onSuccess: (text) => {
      const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
      const link = document.createElement("a");
      link.href = url;
      link.download = `${log.runId}-${log.attempt}-${log.source}.log`;
      link.click();
      URL.revokeObjectURL(url);
    },
  });
  return (
    <Button
      size="compact-xs"
      variant="subtle"
      color="gray"
      leftSection={<IconDownload size={14} />}
      loading={whole.isPending}
      onClick={() => whole.mutate()}
      title={whole.error ? describeError(whole.error).detail : undefined}
    >
      {whole.isError ? "Download failed, again?" : "Download"}
    </Button>
  );
}
