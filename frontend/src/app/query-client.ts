import { MutationCache, QueryCache, QueryClient } from "@tanstack/react-query";
import { ApiError } from "@/api/client";
import { keys } from "@/api/keys";

const MAX_RETRIES = 2;

/** Entities are kept fresh by the stream, so nothing is refetched for being a little old. */
export function makeQueryClient(): QueryClient {
  // A session that ended elsewhere: the sign-in form takes the page's place, at the same address.
  const onError = (error: Error) => {
    if (error instanceof ApiError && error.status === 401) client.setQueryData(keys.me, null);
  };
  const client: QueryClient = new QueryClient({
    queryCache: new QueryCache({ onError }),
    mutationCache: new MutationCache({ onError }),
    defaultOptions: {
      queries: {
        staleTime: 30_000,
        refetchOnWindowFocus: false,
        retry: (failures, error) => failures < MAX_RETRIES && isWorthRetrying(error),
      },
    },
  });
  return client;
}

/** Refusals (4xx) stay refusals; an absent or broken server may come back. */
function isWorthRetrying(error: Error): boolean {
  return !(error instanceof ApiError) || error.status === 0 || error.status >= 500;
}
