import { Button, Center, Code, Paper, PasswordInput, Stack, Text, Title } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { describeError } from "@/api/client";
import { BasinMark } from "@/components/icons";
import { Message } from "@/components/message";
import { useSignIn } from "../api/session";

/** What a visitor without a session sees: a field for a token. */
export function SignIn({ failure }: { failure?: unknown }) {
  const [token, setToken] = useState("");
  const signIn = useSignIn();
  const error = signIn.error ?? failure;

  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (token.trim() !== "") signIn.mutate(token.trim());
  };

  return (
    <Center component="main" mih="100vh" p="md">
      <Paper withBorder shadow="sm" p={32} w={420} maw="100%">
        <form onSubmit={submit}>
          <Stack gap="md">
            <BasinMark size={44} />
            <div>
              <Title order={1} size="h3">
                Sign in to Basin
              </Title>
              <Text c="dimmed" size="sm" mt={4}>
                Open the link that <Code>basin up</Code> printed, or paste an access token.
              </Text>
            </div>
            <input type="text" autoComplete="username" value="token" readOnly hidden />
            <PasswordInput
              label="Access token"
              placeholder="basin_…"
              autoComplete="current-password"
              value={token}
              onChange={(event) => setToken(event.currentTarget.value)}
              data-autofocus
            />
            {error !== null && error !== undefined && (
              <Message tone="bad" title={describeError(error).title} urgent>
                {describeError(error).detail}
              </Message>
            )}
            <Button type="submit" loading={signIn.isPending} disabled={token.trim() === ""}>
              Sign in
            </Button>
          </Stack>
        </form>
      </Paper>
    </Center>
  );
}
