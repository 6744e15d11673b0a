import { Center } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { describeError } from "@/api/client";
import { meQuery } from "@/api/me";
import { Failure, Loading } from "@/components/state-messages";
import { useSignIn } from "../api/session";
import { rememberSignIn, signedInBefore } from "../signed-in-before";
import { SignIn } from "./sign-in";

/** How often a page that was opened while the API was away looks whether it is back. */
const ASK_AGAIN_MS = 3_000;

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
  const me = useQuery({
    ...meQuery,
    enabled: linkSettled && mayHaveSession,
    retry: false,
    refetchInterval: ({ state }) => (state.status === "error" ? ASK_AGAIN_MS : false),
  });
  // A try that is under way after a failed one is no reason to take the words away.
  const failed = useLastError(me.error, me.data !== undefined);

  useEffect(() => {
    if (me.data === null) rememberSignIn(false);
  }, [me.data]);

  if (me.data) return children;
  if (failed) {
    const { title, detail } = describeError(failed);
    return (
      <Center mih="100vh" p="md">
        <Failure title={title} detail={`${detail} This page tries again by itself.`} onRetry={() => me.refetch()} />
      </Center>
    );
  }
  if (!linkSettled || me.isLoading) return <Loading label="Signing in" />;
  return <SignIn failure={error} />;
}

/** The error of the last try that ended, until there is an answer. */
function useLastError(error: Error | null, answered: boolean): Error | null {
  const [last, setLast] = useState(error);
  if (answered && last !== null) setLast(null);
  else if (!answered && error !== null && error !== last) setLast(error);
  return answered ? null : (error ?? last);
}
