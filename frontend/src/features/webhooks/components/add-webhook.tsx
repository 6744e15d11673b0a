import { Button, Code, Group, Modal, MultiSelect, Stack, Text, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { describeError } from "@/api/client";
import type { EventType } from "@/api/types";
import { CopyButton } from "@/components/copy-button";
import { Message } from "@/components/message";
import { useAddWebhook } from "../api/webhooks";

const EVENT_TYPES: EventType[] = [
  "run.queued",
  "run.started",
  "run.retried",
  "run.paused",
  "run.succeeded",
  "run.failed",
  "run.cancelled",
];

/** Asks for an address and types; then shows the secret, this once. */
export function AddWebhook({ onClose }: { onClose: () => void }) {
  const [url, setUrl] = useState("");
  const [events, setEvents] = useState<string[]>([]);
  const add = useAddWebhook();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    add.mutate({ url: url.trim(), events: EVENT_TYPES.filter((type) => events.includes(type)), covers: "mine" });
  };
  if (add.data) return <Secret secret={add.data.secret} onClose={onClose} />;
  return (
    <Modal opened onClose={onClose} title={<b>Add a webhook</b>} centered>
      <form onSubmit={submit}>
        <Stack gap="md">
          <TextInput
            label="Address"
            description="Where messages are posted, by https."
            placeholder="https://hooks.example.org/basin"
            value={url}
            onChange={(event) => setUrl(event.currentTarget.value)}
            maxLength={2048}
            autoComplete="off"
            data-autofocus
          />
          <MultiSelect
            label="Events"
            description="None chosen: all."
            data={EVENT_TYPES}
            value={events}
            onChange={setEvents}
          />
          {add.error && (
            <Message tone="bad" title={describeError(add.error).title} urgent>
              {describeError(add.error).detail}
            </Message>
          )}
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              Close
            </Button>
            <Button type="submit" disabled={url.trim() === ""} loading={add.isPending}>
              Add
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Secret({ secret, onClose }: { secret: string; onClose: () => void }) {
  return (
    <Modal opened onClose={onClose} title={<b>The webhook's secret</b>} centered closeOnClickOutside={false}>
      <Stack gap="md">
        <Text size="sm">The receiver verifies signatures with it. It is not shown again.</Text>
        <Code block>{secret}</Code>
        <Group justify="space-between">
          <CopyButton text={secret} label="Copy" />
          <Button onClick={onClose}>I have kept it</Button>
        </Group>
      </Stack>
    </Modal>
  );
}
