/** What the page knows of its stream. `lost` only after it has been away long enough that a person should know. */
export type ConnectionState = "connecting" | "open" | "lost";

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;
/** A stream that lived this long ended in the ordinary way (the server ends each after ten minutes). */
const HEALTHY_MS = 5_000;
/** Shorter gaps, such as the ordinary reconnect, are not worth a banner. */
const SAY_LOST_AFTER_MS = 2_500;

export interface ConnectionOptions {
  url: string;
  /** Names of the server-sent events to hand on. */
  events: readonly string[];
  onEvent: (name: string, data: string) => void;
  onState: (state: ConnectionState) => void;
  /** The stream failed: time to find out whether the session still holds (EventSource hides the status). */
  onFailure: () => void;
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

  const start = () => {
    source = open(options.url);
    source.onopen = () => {
      openedAt = Date.now();
      clearTimeout(lostTimer);
      lostTimer = undefined;
      options.onState("open");
    };
    source.onerror = fail;
    for (const name of options.events) {
      source.addEventListener(name, (event) => options.onEvent(name, (event as MessageEvent<string>).data));
    }
  };

  const fail = () => {
    source?.close();
    source = null;
    const wasHealthy = openedAt > 0 && Date.now() - openedAt > HEALTHY_MS;
    failures = wasHealthy ? 1 : failures + 1;
    openedAt = 0;
    lostTimer ??= setTimeout(() => options.onState("lost"), SAY_LOST_AFTER_MS);
    options.onFailure();
    retryTimer = setTimeout(start, retryDelay(failures));
  };

  start();
  return {
    close: () => {
      clearTimeout(retryTimer);
      clearTimeout(lostTimer);
      source?.close();
      source = null;
    },
    retryNow: () => {
      if (source) return;
      clearTimeout(retryTimer);
      start();
    },
  };
}

/** Milliseconds before try number `failures` + 1: doubling up to a bound, spread so that pages do not come in step. */
export function retryDelay(failures: number, random: () => number = Math.random): number {
  const full = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (failures - 1));
  return full * (0.5 + random() / 2);
}
