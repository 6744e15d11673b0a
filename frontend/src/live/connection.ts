/** What the page knows of its stream. `lost` only after it has been away long enough that a person should know. */
export type ConnectionState = "connecting" | "open" | "lost";

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;
/** A stream that lived this long ended in the ordinary way (the server ends each after ten minutes). */
const HEALTHY_MS = 5_000;
/** Shorter gaps, such as the ordinary reconnect, are not worth a banner. */
const SAY_LOST_AFTER_MS = 2_500;

export interface ConnectionOptions {
  /** Where to open the stream; asked each time, since a later stream goes on where the last one ended. */
  url: () => string;
  /** Names of the server-sent events to hand on. */
  events: readonly string[];
  /** `id` is the server's, "" where it gave none. */
  onEvent: (name: string, data: string, id: string) => void;
  onState: (state: ConnectionState) => void;
  /** Whether a failed stream is worth opening again now: EventSource hides why it failed, a request does not. */
  mayReopen: () => Promise<boolean>;
  open?: (url: string) => EventSource;
}

export interface Connection {
  close: () => void;
  /** Tries at once instead of waiting for the back-off, e.g. when the machine is online again. */
  retryNow: () => void;
}

/** Keeps one server-sent-events stream open: on a failure it tries again with exponential back-off and jitter. */
export function keepConnected(options: ConnectionOptions): Connection {
  const open = options.open ?? ((url: string) => new EventSource(url));
  let source: EventSource | null = null;
  let failures = 0;
  let openedAt = 0;
  let retryTimer: ReturnType<typeof setTimeout> | undefined;
  let lostTimer: ReturnType<typeof setTimeout> | undefined;
  let closed = false;

  const start = () => {
    source = open(options.url());
    source.onopen = () => {
      openedAt = Date.now();
      clearTimeout(lostTimer);
      lostTimer = undefined;
      options.onState("open");
    };
    source.onerror = () => {
      source?.close();
      source = null;
      if (openedAt > 0 && Date.now() - openedAt > HEALTHY_MS) failures = 0;
      openedAt = 0;
      retryLater();
    };
    for (const name of options.events) {
      source.addEventListener(name, (event) => {
        const { data, lastEventId } = event as MessageEvent<string>;
        options.onEvent(name, data, lastEventId);
      });
    }
  };

  const retryLater = () => {
    failures += 1;
    lostTimer ??= setTimeout(() => options.onState("lost"), SAY_LOST_AFTER_MS);
    retryTimer = setTimeout(retry, retryDelay(failures));
  };

  const retry = async () => {
    retryTimer = undefined;
    const may = await options.mayReopen();
    if (closed) return;
    if (may) start();
    else retryLater();
  };

  start();
  return {
    close: () => {
      closed = true;
      clearTimeout(retryTimer);
      clearTimeout(lostTimer);
      source?.close();
      source = null;
    },
    retryNow: () => {
      if (retryTimer === undefined) return;
      clearTimeout(retryTimer);
      void retry();
    },
  };
}

/** Milliseconds before try number `failures` + 1: doubling up to a bound, spread so that pages do not come in step. */
export function retryDelay(failures: number, random: () => number = Math.random): number {
  const full = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (failures - 1));
  return full * (0.5 + random() / 2);
}
