import { Box, Button, Group, Modal, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { describeError } from "@/api/client";
import { meQuery } from "@/api/me";
import type { Run } from "@/api/types";
import { Message } from "@/components/message";
import { useCancelRun } from "../api/runs";
import { mayChange } from "../may-change";

/** The cancel button, after a question; absent for who may not cancel this run. */
export function CancelRun({ run }: { run: Run }) {
  const [isAsking, ask] = useDisclosure(false);
  const { data: me } = useQuery(meQuery);
  const cancel = useCancelRun(run.id);
  if (!mayChange(me, run)) return null;

  const waits = run.status === "queued" || run.status === "paused";
  const isSecond = run.status === "cancelling";
  return (
    <>
      <Button size="xs" variant="default" onClick={ask.open}>
        {isSecond ? "Stop at once" : "Cancel run"}
      </Button>
      <Modal
        opened={isAsking}
        onClose={ask.close}
        title={<b>{isSecond ? "Stop this run at once?" : "Cancel this run?"}</b>}
        centered
      >
        <Text size="sm">
          {isSecond
            ? "It is being cancelled and saves a checkpoint. Stopped at once, it keeps what it has saved by now."
            : waits
              ? "It leaves the queue and is not started again."
              : "It saves a checkpoint, then ends. Its metrics and checkpoints stay; it cannot be started again."}
        </Text>
        {cancel.error && (
          <Box mt="md">
            <Message tone="bad" title={describeError(cancel.error).title} urgent>
              {describeError(cancel.error).detail}
            </Message>
          </Box>
        )}
        <Group justify="flex-end" mt="lg">
          <Button variant="default" onClick={ask.close}>
            Keep it
          </Button>
          <Button
            color="red"
            loading={cancel.isPending}
            onClick={() => cancel.mutate({ now: isSecond }, { onSuccess: ask.close })}
            data-autofocus
          >
            {isSecond ? "Stop it" : "Cancel the run"}
          </Button>
        </Group>
      </Modal>
    </>
  );
}
