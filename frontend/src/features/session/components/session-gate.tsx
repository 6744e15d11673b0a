import { Center } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { describeError } from "@/api/client";
import { meQuery } from "@/api/me";
import { Failure, Loading } from "@/components/state-messages";
import { useSignIn } from "../api/session";
import { rememberSignIn, signedInBefore } from "../signed-in-before";
import { SignIn } from "./sign-in";

interface SessionGateProps {
  /** The token of the link the page was opened with, if any. */
  linkToken: string | null;
  children: ReactNode;
}

/** Shows its children to who is signed in, and the sign-in form to everybody else. */
export function SessionGate({ linkToken, children }: SessionGateProps) {
  const { mutate, status, error } = useSignIn();
  const used = useRef<string | null>(null);
  useEffect(() => {
    if (linkToken === null || used.current === linkToken) return;
    used.current = linkToken;
    mutate(linkToken);
  }, [linkToken, mutate]);

  const [mayHaveSession] = useState(signedInBefore);
  const linkSettled = linkToken === null || status === "success" || status === "error";
  const me = useQuery({ ...meQuery, enabled: linkSettled && mayHaveSession });

  useEffect(() => {
    if (me.data === null) rememberSignIn(false);
  }, [me.data]);

  if (me.data) return children;
  if (!linkSettled || me.isLoading) return <Loading label="Signing in" />;
  if (me.isError) {
    return (
      <Center mih="100vh" p="md">
        <Failure {...describeError(me.error)} onRetry={() => me.refetch()} />
      </Center>
    );
  }
  return <SignIn failure={error} />;
}
