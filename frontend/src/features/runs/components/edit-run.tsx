import { Button, Group, Modal, Stack, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { describeError } from "@/api/client";
import type { Run } from "@/api/types";
import { Message } from "@/components/message";
import { useEditRun } from "../api/runs";
import { editFault, editFieldsOf, editOf } from "../edit";

interface EditRunProps {
  run: Run;
  onClose: () => void;
}

/** Name, study, and the priority while the run waits. */
export function EditRun({ run, onClose }: EditRunProps) {
  const [fields, setFields] = useState(() => editFieldsOf(run));
  const save = useEditRun(run.id);
  const fault = editFault(fields);
  const edit = fault ? null : editOf(run, fields);
  const waits = run.status === "queued";
  const errorOf = (field: string) => (fault?.field === field ? fault.words : undefined);
  const change = (field: keyof typeof fields) => (event: { currentTarget: { value: string } }) => {
    const { value } = event.currentTarget;
    setFields((before) => ({ ...before, [field]: value }));
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (edit) save.mutate(edit, { onSuccess: onClose });
  };
  return (
    <Modal opened onClose={onClose} title={<b>Edit this run</b>} centered>
      <form onSubmit={submit}>
        <Stack gap="md">
          <TextInput
            label="Name"
            value={fields.name}
            error={errorOf("name")}
            onChange={change("name")}
            maxLength={128}
            autoComplete="off"
            data-autofocus
          />
          <TextInput
            label="Study"
            description="Runs of one study are compared with each other. Empty: none."
            value={fields.study}
            onChange={change("study")}
            maxLength={128}
            autoComplete="off"
          />
          <TextInput
            label="Priority"
            description={
              waits ? "Higher starts first, -1000 to 1000." : "It counts only in the queue, which this run has left."
            }
            value={fields.priority}
            error={errorOf("priority")}
            onChange={change("priority")}
            disabled={!waits}
            inputMode="numeric"
            autoComplete="off"
          />
          {save.error && (
            <Message tone="bad" title={describeError(save.error).title} urgent>
              {describeError(save.error).detail}
            </Message>
          )}
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              Close
            </Button>
            <Button type="submit" disabled={!edit} loading={save.isPending}>
              Save
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
