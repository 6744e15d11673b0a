import { Button, Center, Loader, Paper, Stack, Text, Title } from "@mantine/core";
import type { ReactNode } from "react";
import { IconWarning } from "./icons";

/** A centred loader that shows only after a moment, so that quick answers do not flicker. */
export function Loading({ label }: { label: string }) {
  return (
    <Center mih={240} role="status" aria-label={label} className="basin-late">
      <Loader type="dots" />
    </Center>
  );
}

interface FailureProps {
  title: string;
  /** What the API said: what was wrong and what to do. */
  detail: string;
  onRetry?: () => void;
}

/** In place of what could not be loaded. */
export function Failure({ title, detail, onRetry }: FailureProps) {
  return (
    <Paper withBorder p="xl" role="alert">
      <Stack gap="xs" align="center">
        <Text c="red" component="span">
          <IconWarning size={28} />
        </Text>
        <Title order={2} size="h4">
          {title}
        </Title>
        <Text c="dimmed" ta="center" maw={560}>
          {detail}
        </Text>
        {onRetry && (
          <Button variant="light" mt="xs" onClick={onRetry}>
            Try again
          </Button>
        )}
      </Stack>
    </Paper>
  );
}

interface EmptyProps {
  title: string;
  children: ReactNode;
}

/** In place of a list without entries: what would be here, and how to get it. */
export function Empty({ title, children }: EmptyProps) {
  return (
    <Paper withBorder p={{ base: "lg", sm: 48 }}>
      <Stack gap="sm" align="center">
        <Title order={2} size="h3">
          {title}
        </Title>
        {children}
      </Stack>
    </Paper>
  );
}
