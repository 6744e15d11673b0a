import { Button, Code, Group, Stack, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { describeError } from "@/api/client";
import type { Webhook } from "@/api/types";
import { Message } from "@/components/message";
import { Panel } from "@/components/panel";
import { Empty, Failure, Loading } from "@/components/state-messages";
import { formatInstant } from "@/format/duration";
import { useDeleteWebhook, useEditWebhook, useTestWebhook, webhooksQuery } from "../api/webhooks";
import { testResult } from "../delivery-words";
import { DeliveryLog } from "./delivery-log";

/** Whoever is signed in sees their webhooks, how they fare, and what was sent. */
export function WebhookList() {
  const webhooks = useQuery(webhooksQuery);
  if (webhooks.isPending) return <Loading label="Loading the webhooks" />;
  if (!webhooks.data) return <Failure {...describeError(webhooks.error)} onRetry={() => webhooks.refetch()} />;
  const { items } = webhooks.data;
  if (items.length === 0) {
    return (
      <Empty title="No webhooks yet">
        <Text c="dimmed" ta="center" maw={520}>
          A webhook is an address of yours that is told when your runs start, fail or end. Add one here, or with{" "}
          <Code>basin webhook add URL</Code>.
        </Text>
      </Empty>
    );
  }
  return (
    <Stack gap="md">
      {items.map((webhook) => (
        <WebhookCard key={webhook.id} webhook={webhook} />
      ))}
    </Stack>
  );
}

function WebhookCard({ webhook }: { webhook: Webhook }) {
  const [showsLog, setShowsLog] = useState(false);
  const [asksToDelete, setAsksToDelete] = useState(false);
  const test = useTestWebhook(webhook.id);
  const edit = useEditWebhook(webhook.id);
  const remove = useDeleteWebhook(webhook.id);
  const error = test.error ?? edit.error ?? remove.error;
  return (
    <Panel title={webhook.description ?? webhook.url}>
      <Stack gap="sm">
        <Text size="sm" style={{ overflowWrap: "anywhere" }}>
          {webhook.url}
        </Text>
        <Text size="sm" c="dimmed">
          {webhook.events.length === 0 ? "All events" : webhook.events.join(", ")}
          {webhook.project === null ? "" : ` of project ${webhook.project}`}
          {webhook.covers === "everybody" ? ", everybody's runs" : ""}
          {webhook.waiting > 0 ? `; ${webhook.waiting} waiting` : ""}
        </Text>
        {!webhook.enabled && <Message tone="bad" title={webhook.disabled_reason ?? "Disabled."} />}
        {webhook.enabled && webhook.failing_since !== null && (
          <Message tone="warning" title={`Its receiver fails since ${formatInstant(webhook.failing_since)}.`} />
        )}
        {test.data && (
          <Message tone={test.data.state === "delivered" ? "neutral" : "bad"} title={testResult(test.data)} urgent />
        )}
        {error && (
          <Message tone="bad" title={describeError(error).title} urgent>
            {describeError(error).detail}
          </Message>
        )}
        <Group gap="xs">
          <Button size="xs" variant="default" loading={test.isPending} onClick={() => test.mutate()}>
            Send a test
          </Button>
          <Button size="xs" variant="default" aria-expanded={showsLog} onClick={() => setShowsLog(!showsLog)}>
            {showsLog ? "Hide deliveries" : "Show deliveries"}
          </Button>
          <Button size="xs" variant="default" onClick={() => edit.mutate({ enabled: !webhook.enabled })}>
            {webhook.enabled ? "Disable" : "Enable"}
          </Button>
          {asksToDelete ? (
            <Button size="xs" color="red" loading={remove.isPending} onClick={() => remove.mutate()}>
              Delete it and its log
            </Button>
          ) : (
            <Button size="xs" variant="default" onClick={() => setAsksToDelete(true)}>
              Delete
            </Button>
          )}
        </Group>
        {showsLog && <DeliveryLog webhookId={webhook.id} enabled={webhook.enabled} />}
      </Stack>
    </Panel>
  );
}
