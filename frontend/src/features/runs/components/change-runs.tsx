import { Autocomplete, Button, Group, Modal, NumberInput, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { api, describeError, unwrap } from "@/api/client";
import { keys } from "@/api/keys";
import type { RunSummary } from "@/api/types";
import { Message } from "@/components/message";
import { type Act, type Outcome, useCancelRuns, useChangeRuns, useEditRuns } from "../api/changes";
import classes from "./selection-bar.module.css";

interface ChangeProps {
  runs: readonly RunSummary[];
  onClose: () => void;
}

/** Asks before many runs are cancelled. */
export function CancelRuns({ onClose, ...asked }: ChangeProps) {
  const runs = useAsked(asked.runs);
  const cancel = useCancelRuns();
  const waiting = runs.filter(({ status }) => status === "queued" || status === "paused").length;
  const others = runs.length - waiting;
  return (
    <Change
      title={runs.length === 1 ? "Cancel this run?" : `Cancel ${runs.length} runs?`}
      verb={runs.length === 1 ? "Cancel the run" : `Cancel ${runs.length} runs`}
      isRed
      runs={runs}
      onClose={onClose}
      mutation={cancel}
      onConfirm={() => cancel.mutate(runs.map(({ id }) => id))}
      says={({ done }) => `${counted(done)} cancelled.`}
    >
      <Text size="sm">
        {waiting > 0 && `${counted(waiting)} will leave the queue. `}
        {others > 0 && `${counted(others)} will save a checkpoint and end; metrics and checkpoints stay. `}
        None of them can be started again.
      </Text>
    </Change>
  );
}

const ACTS: Record<Act, { verb: string; done: string; says: string }> = {
  pause: {
    verb: "Pause",
    done: "paused, or saving a checkpoint first",
    says: "Those that train save a checkpoint and give their slots back. A resumed run goes on to the same numbers.",
  },
  resume: { verb: "Resume", done: "resumed", says: "They wait in the queue and go on from their last checkpoints." },
  archive: { verb: "Archive", done: "archived", says: "They leave the list; the filter “Archived” shows them." },
  unarchive: { verb: "Unarchive", done: "back in the list", says: "They come back to the list." },
  delete: {
    verb: "Delete",
    done: "deleted",
    says: "With their metrics, checkpoints and logs. The filter “Deleted” brings them back for a while, a day by default.",
  },
  restore: { verb: "Restore", done: "restored", says: "They come back as they were." },
};

/** Asks before many runs are paused, resumed, archived, deleted, or brought back. */
export function ActOnRuns({ act, onClose, ...asked }: ChangeProps & { act: Act }) {
  const runs = useAsked(asked.runs);
  const change = useChangeRuns(act);
  const { verb, done, says } = ACTS[act];
  return (
    <Change
      title={runs.length === 1 ? `${verb} this run?` : `${verb} ${runs.length} runs?`}
      verb={runs.length === 1 ? `${verb} the run` : `${verb} ${runs.length} runs`}
      isRed={act === "delete"}
      runs={runs}
      onClose={onClose}
      mutation={change}
      onConfirm={() => change.mutate(runs.map(({ id }) => id))}
      says={(outcome) => `${counted(outcome.done)} ${done}.`}
      saysUnchanged="so before"
    >
      <Text size="sm">{says}</Text>
    </Change>
  );
}

/** Orders the queue: higher starts first. */
export function SetPriority({ onClose, ...asked }: ChangeProps) {
  const runs = useAsked(asked.runs);
  const edit = useEditRuns();
  const [priority, setPriority] = useState<number | string>(runs[0]?.priority ?? 0);
  const isWhole = typeof priority === "number" && Number.isInteger(priority);
  return (
    <Change
      title={runs.length === 1 ? "Priority of this run" : `Priority of ${runs.length} queued runs`}
      verb="Set priority"
      runs={runs}
      onClose={onClose}
      mutation={edit}
      isReady={isWhole}
      onConfirm={() => isWhole && edit.mutate({ runIds: runs.map(({ id }) => id), edit: { priority } })}
      says={({ done }) => `${counted(done)} changed.`}
    >
      <NumberInput
        label="Priority"
        description="-1000 to 1000; higher starts first, equal ones in the order they came"
        min={-1000}
        max={1000}
        allowDecimal={false}
        value={priority}
        onChange={setPriority}
        data-autofocus
      />
    </Change>
  );
}

/** Puts runs under one name, so that they are listed and compared together. */
export function AddToStudy({ onClose, ...asked }: ChangeProps) {
  const runs = useAsked(asked.runs);
  const edit = useEditRuns();
  const [study, setStudy] = useState(runs[0]?.study ?? "");
  const { data } = useQuery({
    queryKey: keys.studies(""),
    queryFn: () => unwrap(api.GET("/api/v1/studies", { params: { query: {} } })),
  });
  const name = study.trim();
  return (
    <Change
      title={runs.length === 1 ? "Study of this run" : `Study of ${runs.length} runs`}
      verb={name === "" ? "Take out of their study" : "Add to study"}
      runs={runs}
      onClose={onClose}
      mutation={edit}
      onConfirm={() => edit.mutate({ runIds: runs.map(({ id }) => id), edit: { study: name || null } })}
      says={({ done }) => `${counted(done)} changed.`}
    >
      <Autocomplete
        label="Study"
        description="An existing one or a new name; empty takes the runs out"
        maxLength={128}
        value={study}
        onChange={setStudy}
        data={data?.items.map((item) => item.name) ?? []}
        limit={20}
        maxDropdownHeight={200}
        data-autofocus
      />
    </Change>
  );
}

/** The runs as they were when the question was put: the stream changes those of the list while it stands. */
function useAsked(runs: readonly RunSummary[]): readonly RunSummary[] {
  const [asked] = useState(runs);
  return asked;
}

interface DialogProps extends ChangeProps {
  title: string;
  verb: string;
  isRed?: boolean;
  isReady?: boolean;
  mutation: { data?: Outcome; error: Error | null; isPending: boolean };
  onConfirm: () => void;
  says: (outcome: Outcome) => string;
  saysUnchanged?: string;
  children: ReactNode;
}

/** A question, then what came of it; it closes by itself only when nothing was refused. */
function Change({
  title,
  verb,
  isRed,
  isReady = true,
  runs,
  onClose,
  mutation,
  onConfirm,
  says,
  saysUnchanged = "over before",
  children,
}: DialogProps) {
  const { data: outcome, error, isPending } = mutation;
  return (
    <Modal opened onClose={onClose} title={<b>{title}</b>} centered>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onConfirm();
        }}
      >
        {outcome ? (
          <Report outcome={outcome} says={says(outcome)} saysUnchanged={saysUnchanged} runs={runs} />
        ) : (
          children
        )}
        {error && (
          <Message tone="bad" title={describeError(error).title} urgent>
            {describeError(error).detail}
          </Message>
        )}
        <Group justify="flex-end" mt="lg">
          <Button variant="default" onClick={onClose}>
            {outcome ? "Close" : "Leave it"}
          </Button>
          {!outcome && (
            <Button type="submit" color={isRed ? "red" : undefined} loading={isPending} disabled={!isReady}>
              {verb}
            </Button>
          )}
        </Group>
      </form>
    </Modal>
  );
}

interface ReportProps {
  outcome: Outcome;
  says: string;
  saysUnchanged: string;
  runs: readonly RunSummary[];
}

function Report({ outcome, says, saysUnchanged, runs }: ReportProps) {
  const names = new Map(runs.map(({ id, name }) => [id, name]));
  const { alreadyOver, refused } = outcome;
  return (
    <Message tone={refused.length > 0 ? "warning" : "neutral"} title={says} urgent>
      {alreadyOver > 0 && (
        <div>
          {counted(alreadyOver)} {alreadyOver === 1 ? "was" : "were"} {saysUnchanged}.
        </div>
      )}
      {refused.length > 0 && (
        <>
          {counted(refused.length)} refused:
          <ul className={classes.refused}>
            {refused.map(({ runId, detail }) => (
              <li key={runId}>
                <b>{names.get(runId) ?? runId}</b>: {detail}
              </li>
            ))}
          </ul>
        </>
      )}
    </Message>
  );
}

function counted(runs: number): string {
  return runs === 1 ? "1 run" : `${runs} runs`;
}
