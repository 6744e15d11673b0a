import { notifyManager, type QueryClient, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useState } from "react";
import { meQuery } from "@/api/me";
import { applyEvent, EVENT_NAMES, refetchOvertaken, refetchTopics } from "./apply-event";
import { type ConnectionState, keepConnected } from "./connection";
import { useTabIsAwake } from "./use-tab-is-awake";

/** Events are applied in batches, so that a hundred runs at once cost one rendering. */
const BATCH_MS = 150;
/** Pages that change topics in one go (leave a run, enter a list) make one new stream. */
const SETTLE_MS = 30;

/** The stream stands ("hello"), or lost something ("resync"): what happened before it must be fetched. */
const CATCH_UP_NAMES: readonly string[] = ["hello", "resync"];

interface Live {
  state: ConnectionState;
  /** Asks for a topic until the returned function is called. */
  watch: (topic: string) => () => void;
}

const LiveContext = createContext<Live | null>(null);

/** Holds the tab's one stream: its topics are what the mounted pages watch; its events go into the query cache. */
export function LiveProvider({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [watched, setWatched] = useState<readonly string[]>([]);
  const [state, setState] = useState<ConnectionState>("connecting");
  const awake = useTabIsAwake();

  const watch = useCallback((topic: string) => {
    setWatched((topics) => [...topics, topic]);
    return () => setWatched((topics) => topics.toSpliced(topics.indexOf(topic), 1));
  }, []);

  const topics = [...new Set(watched)].sort().join(",");
  useEffect(() => refetchOvertaken(client), [client]);
  useEffect(() => {
    if (topics === "" || !awake) return;
    let close = () => {};
    const settle = window.setTimeout(() => {
      const batch = batcher<[string, string]>((events) =>
        notifyManager.batch(() => {
          for (const [name, data] of events) applyEvent(client, name, data);
        }),
      );
      const connection = keepConnected({
        url: `/api/v1/stream?topics=${encodeURIComponent(topics)}`,
        events: [...EVENT_NAMES, ...CATCH_UP_NAMES],
        onEvent: (name, data) => {
          if (CATCH_UP_NAMES.includes(name)) refetchTopics(client, topics.split(","));
          else batch.add([name, data]);
        },
        onState: setState,
        mayReopen: () => apiAnswers(client),
      });
      window.addEventListener("online", connection.retryNow);
      close = () => {
        window.removeEventListener("online", connection.retryNow);
        connection.close();
        batch.stop();
      };
    }, SETTLE_MS);
    return () => {
      window.clearTimeout(settle);
      close();
    };
  }, [client, topics, awake]);

  const live = useMemo(() => ({ state, watch }), [state, watch]);
  return <LiveContext value={live}>{children}</LiveContext>;
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

function batcher<Item>(apply: (items: Item[]) => void) {
  let items: Item[] = [];
  let timer: number | undefined;
  const flush = () => {
    const ready = items;
    items = [];
    timer = undefined;
    apply(ready);
  };
  return {
    add: (item: Item) => {
      items.push(item);
      timer ??= window.setTimeout(flush, BATCH_MS);
    },
    stop: () => window.clearTimeout(timer),
  };
}
