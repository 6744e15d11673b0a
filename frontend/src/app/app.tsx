import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { SessionGate } from "@/features/session/components/session-gate";
import { takeTokenFromLink } from "@/features/session/token-in-link";
import { LiveProvider } from "@/live/live-provider";
import { makeQueryClient } from "./query-client";
import { router } from "./router";
import { theme } from "./theme";

const queryClient = makeQueryClient();

export function App({ linkToken }: { linkToken: string | null }) {
  const token = useLinkToken(linkToken);
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto">
      <QueryClientProvider client={queryClient}>
        <SessionGate linkToken={token}>
          <LiveProvider>
            <RouterProvider router={router} />
          </LiveProvider>
        </SessionGate>
      </QueryClientProvider>
    </MantineProvider>
  );
}

/** The token of the link: the one the page was opened with, then any that is pasted over an open page's address. */
function useLinkToken(first: string | null): string | null {
  const [token, setToken] = useState(first);
  useEffect(() => {
    const look = () => {
      const taken = takeTokenFromLink(window.location, window.history);
      if (taken !== null) setToken(taken);
    };
    window.addEventListener("hashchange", look);
    return () => window.removeEventListener("hashchange", look);
  }, []);
  return token;
}
