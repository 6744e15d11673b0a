import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useRef, useState } from "react";
import { meQuery } from "@/api/me";
import { EVENT_NAMES, refetchOvertaken, refetchTopics } from "./apply-event";
import { type ConnectionState, keepConnected } from "./connection";
import { StreamCursor } from "./cursor";
import { eventBatch } from "./event-batch";
import { keepRecovering } from "./recovery";
import { useTabIsAwake } from "./use-tab-is-awake";

/** Pages that change topics in one go (leave a run, enter a list) make one new stream. */
const SETTLE_MS = 30;
/** Short absences, such as a restart behind a proxy, are not worth a banner. */
const SAY_AWAY_AFTER_MS = 2_500;

interface Live {
  state: ConnectionState;
  /** Asks for a topic until the returned function is called. */
  watch: (topic: string) => () => void;
  /** Tries at once what waits for the API. */
  retryNow: () => void;
}

const LiveContext = createContext<Live | null>(null);

/** Holds the tab's one stream: its topics are what the mounted pages watch; its events go into the query cache. */
export function LiveProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [watched, setWatched] = useState<readonly string[]>([]);
  const retries = useRef(new Set<() => void>());

  const watch = useCallback((topic: string) => {
    setWatched((topics) => [...topics, topic]);
    return () => setWatched((topics) => topics.toSpliced(topics.indexOf(topic), 1));
  }, []);
  const retryNow = useCallback(() => {
    for (const retry of retries.current) retry();
  }, []);
  useEffect(() => {
    window.addEventListener("online", retryNow);
    return () => window.removeEventListener("online", retryNow);
  }, [retryNow]);

  useEffect(() => refetchOvertaken(client), [client]);
  const stream = useStream(client, [...new Set(watched)].sort().join(","), retries.current);
  const away = useRecovery(client, retries.current);
  const state = away ? "lost" : stream;
  const live = useMemo(() => ({ state, watch, retryNow }), [state, watch, retryNow]);
  return <LiveContext value={live}>{children}</LiveContext>;
}

function useStream(client: QueryClient, topics: string, retries: Set<() => void>): ConnectionState {
  const [state, setState] = useState<ConnectionState>("connecting");
  const awake = useTabIsAwake();
  const [cursor] = useState(() => new StreamCursor());
  useEffect(() => {
    if (topics === "" || !awake) return;
    let close = () => {};
    const settle = window.setTimeout(() => {
      const batch = eventBatch(client);
      cursor.follow(topics);
      const connection = keepConnected({
        url: () => cursor.url(),
        events: [...EVENT_NAMES, "hello", "resync"],
        onEvent: (name, data, id) => {
          cursor.passed(id);
          if (cursor.mustFetch(name, data)) refetchTopics(client, topics.split(","));
          else batch.add([name, data]);
        },
        onState: setState,
        mayReopen: () => apiAnswers(client),
      });
      retries.add(connection.retryNow);
      close = () => {
        retries.delete(connection.retryNow);
        connection.close();
        // The cursor stands behind these events, so they must not be dropped.
        batch.flush();
      };
    }, SETTLE_MS);
    return () => {
      window.clearTimeout(settle);
      close();
    };
  }, [client, topics, awake, cursor, retries]);
  // Without topics there is no stream to lose.
  return topics === "" ? "connecting" : state;
}

/** Whether something on the page has waited for the API for a while. */
function useRecovery(client: QueryClient, retries: Set<() => void>): boolean {
  const [away, setAway] = useState(false);
  useEffect(() => {
    let timer: number | undefined;
    const recovery = keepRecovering({
      client,
      apiAnswers: () => apiAnswers(client),
      onAway: (isAway) => {
        window.clearTimeout(timer);
        if (isAway) timer = window.setTimeout(() => setAway(true), SAY_AWAY_AFTER_MS);
        else setAway(false);
      },
    });
    retries.add(recovery.retryNow);
    return () => {
      window.clearTimeout(timer);
      retries.delete(recovery.retryNow);
      recovery.stop();
    };
  }, [client, retries]);
  return away;
}

/** Asks who is signed in. No session any more is an answer too: the sign-in form then takes the page's place. */
async function apiAnswers(client: QueryClient): Promise<boolean> {
  try {
    return (await client.fetchQuery({ ...meQuery, staleTime: 0, retry: false })) !== null;
  } catch {
    return false;
  }
}

function useLive(): Live {
  const live = useContext(LiveContext);
  if (!live) throw new Error("useTopic and useConnectionState need a LiveProvider above them");
  return live;
}

/** Keeps the cached data of a topic ("runs", "run:<id>") current while the calling component is mounted. */
export function useTopic(topic: string): void {
  const { watch } = useLive();
  useEffect(() => watch(topic), [watch, topic]);
}

export function useConnectionState(): ConnectionState {
  return useLive().state;
}

/** Tries at once what waits for the API, instead of at the next turn of the back-off. */
export function useRetryNow(): () => void {
  return useLive().retryNow;
}
