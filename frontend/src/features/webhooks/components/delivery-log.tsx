import { Button, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { describeError } from "@/api/client";
import { Message } from "@/components/message";
import { Loading } from "@/components/state-messages";
import { formatInstant } from "@/format/duration";
import { deliveriesQuery, useRedeliver } from "../api/webhooks";
import { lastAnswer } from "../delivery-words";

/** The newest messages of a webhook; each can be sent again. */
export function DeliveryLog({ webhookId, enabled }: { webhookId: string; enabled: boolean }) {
  const log = useQuery(deliveriesQuery(webhookId));
  const redeliver = useRedeliver(webhookId);
  if (log.isPending) return <Loading label="Loading the deliveries" />;
  if (!log.data) return <Message tone="bad" title={describeError(log.error).title} />;
  const { items } = log.data;
  if (items.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        Nothing was sent yet.
      </Text>
    );
  }
  return (
    <>
      {redeliver.error && (
        <Message tone="bad" title={describeError(redeliver.error).title} urgent>
          {describeError(redeliver.error).detail}
        </Message>
      )}
      <Table.ScrollContainer minWidth={640}>
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>When</Table.Th>
              <Table.Th>Event</Table.Th>
              <Table.Th>Run</Table.Th>
              <Table.Th>State</Table.Th>
              <Table.Th>Last answer</Table.Th>
              <Table.Th aria-label="Actions" />
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {items.map((delivery) => (
              <Table.Tr key={delivery.id}>
                <Table.Td>{formatInstant(delivery.created_at)}</Table.Td>
                <Table.Td>{delivery.type}</Table.Td>
                <Table.Td>
                  {delivery.run_id && (
                    <Link to="/runs/$runId" params={{ runId: delivery.run_id }}>
                      {delivery.run_id}
                    </Link>
                  )}
                </Table.Td>
                <Table.Td>{delivery.state}</Table.Td>
                <Table.Td>{lastAnswer(delivery)}</Table.Td>
                <Table.Td>
                  {enabled && delivery.type !== "webhook.test" && (
                    <Button
                      size="compact-xs"
                      variant="default"
                      aria-label={`Send message ${delivery.id} again`}
                      onClick={() => redeliver.mutate(delivery.id)}
                    >
                      Send again
                    </Button>
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </>
  );
}
