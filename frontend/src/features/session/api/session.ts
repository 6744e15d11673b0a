import { useMutation, useQueryClient } from "@tanstack/react-query";
import { api, unwrap } from "@/api/client";
import { keys } from "@/api/keys";
import { rememberSignIn } from "../signed-in-before";

/** Trades a token for the session cookie. What was read in an earlier session may have been somebody else's. */
export function useSignIn() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (token: string) =>
      unwrap(api.POST("/api/v1/session", { headers: { Authorization: `Bearer ${token}` } })),
    onSuccess: (me) => {
      rememberSignIn(true);
      client.setQueryData(keys.me, me);
      void client.resetQueries({ predicate: (query) => query.queryKey[0] !== keys.me[0] });
    },
  });
}

/** What the submit page keeps across a reload begins so. */
const DRAFTS = "basin-draft:";

/** Ends the session and forgets everything that was read or written in it. */
export function useSignOut() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => unwrap(api.DELETE("/api/v1/session")),
    onSuccess: () => {
      rememberSignIn(false);
      for (const key of Object.keys(window.sessionStorage)) {
        if (key.startsWith(DRAFTS)) window.sessionStorage.removeItem(key);
      }
      client.setQueryData(keys.me, null);
      client.removeQueries({ predicate: (query) => query.queryKey[0] !== keys.me[0] });
    },
  });
}
