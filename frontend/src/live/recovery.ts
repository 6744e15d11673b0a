import type { Query, QueryClient } from "@tanstack/react-query";
import { ApiError } from "@/api/client";
import { retryDelay } from "./connection";

export interface RecoveryOptions {
  client: QueryClient;
  /** Whether the API answers again. */
  apiAnswers: () => Promise<boolean>;
  /** Told whenever something on the page begins or ends to wait for the API. */
  onAway: (away: boolean) => void;
}

export interface Recovery {
  stop: () => void;
  /** Tries at once instead of waiting for the back-off. */
  retryNow: () => void;
}

/**
 * Fetches again by itself what a page could not get because the API was away: asks with exponential back-off whether it
 * answers, and only then repeats the requests. Refusals (4xx) stay as they are.
 */
export function keepRecovering({ client, apiAnswers, onAway }: RecoveryOptions): Recovery {
  const cache = client.getQueryCache();
  let tries = 0;
  let away = false;
  let stopped = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isTrying = false;

  const look = () => {
    const found = cache.findAll({ type: "active", predicate: waitsForTheApi }).length > 0;
    if (found !== away) {
      away = found;
      onAway(found);
    }
    if (found && timer === undefined && !isTrying) {
      tries += 1;
      timer = setTimeout(attempt, retryDelay(tries));
    }
    if (!found && !isTrying) settle();
  };

  const settle = () => {
    clearTimeout(timer);
    timer = undefined;
    tries = 0;
  };

  const attempt = async () => {
    clearTimeout(timer);
    timer = undefined;
    if (isTrying || stopped) return;
    isTrying = true;
    if (await apiAnswers()) await client.refetchQueries({ type: "active", predicate: waitsForTheApi });
    isTrying = false;
    if (!stopped) look();
  };

  const unsubscribe = cache.subscribe(look);
  look();
  return {
    stop: () => {
      stopped = true;
      unsubscribe();
      clearTimeout(timer);
    },
    retryNow: () => {
      if (away) void attempt();
    },
  };
}

/** No answer at all (status 0), or one that says that the server is broken or not ready. */
export function waitsForTheApi(query: Pick<Query, "state">): boolean {
  const { error, status } = query.state;
  return status === "error" && error instanceof ApiError && (error.status === 0 || error.status >= 500);
}
