import { Anchor, Text } from "@mantine/core";
import { type ErrorComponentProps, Link } from "@tanstack/react-router";
import { describeError } from "@/api/client";
import { Empty, Failure } from "@/components/state-messages";

export function NotFound() {
  return (
    <Empty title="Nothing here">
      <Text c="dimmed">No page has this address.</Text>
      <Anchor component={Link} to="/">
        Go to the runs
      </Anchor>
    </Empty>
  );
}

/** For a thing the API does not have, or not for this person. */
export function MissingRun({ detail }: { detail: string }) {
  return (
    <Empty title="No such run">
      <Text c="dimmed" ta="center">
        {detail}
      </Text>
      <Anchor component={Link} to="/">
        Go to the runs
      </Anchor>
    </Empty>
  );
}

export function PageFailure({ error, reset }: ErrorComponentProps) {
  return <Failure {...describeError(error)} onRetry={reset} />;
}
