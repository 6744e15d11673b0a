import { notifyManager, type QueryClient } from "@tanstack/react-query";
import { applyEvent } from "./apply-event";

/** Events are applied in batches, so that a hundred runs at once cost one rendering. */
const BATCH_MS = 150;

export interface EventBatch {
  add: (event: readonly [name: string, data: string]) => void;
  /** Applies what waits, now. */
  flush: () => void;
}

/** Gathers events of the stream for a moment and writes them into the query cache together, in their order. */
export function eventBatch(client: QueryClient): EventBatch {
  let waiting: (readonly [string, string])[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    const events = waiting;
    waiting = [];
    notifyManager.batch(() => {
      for (const [name, data] of events) applyEvent(client, name, data);
    });
  };
  return {
    add: (event) => {
      waiting.push(event);
      timer ??= setTimeout(flush, BATCH_MS);
    },
    flush,
  };
}
