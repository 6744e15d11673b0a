import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Connection, type ConnectionOptions, keepConnected, retryDelay } from "./connection";
import { StreamCursor } from "./cursor";

/** Stands in for the browser's EventSource, which Node lacks; the test plays the server. */
class ScriptedSource {
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  closed = false;
  listeners = new Map<string, (event: { data: string; lastEventId: string }) => void>();
  addEventListener(name: string, listener: (event: { data: string; lastEventId: string }) => void) {
    this.listeners.set(name, listener);
  }
  close() {
    this.closed = true;
  }
}

let sources: ScriptedSource[];
let urls: string[];
let said: string[];
let reachable: boolean;
let connection: Connection | undefined;

function connect(overrides: Partial<ConnectionOptions> = {}): ScriptedSource {
  connection = keepConnected({
    url: () => "/api/v1/stream?topics=runs",
    events: ["run"],
    onEvent: (name, data, id) => said.push(`${name} ${data} ${id}`),
    onState: (state) => said.push(`state ${state}`),
    mayReopen: async () => reachable,
    open: (url) => {
      urls.push(url);
      const source = new ScriptedSource();
      sources.push(source);
      return source as unknown as EventSource;
    },
    ...overrides,
  });
  return newest();
}

function newest(): ScriptedSource {
  return sources.at(-1) as ScriptedSource;
}

beforeEach(() => {
  vi.useFakeTimers();
  sources = [];
  urls = [];
  said = [];
  reachable = true;
});
afterEach(() => {
  connection?.close();
  vi.useRealTimers();
});

describe("keepConnected", () => {
  test("hands on the events it was asked for", () => {
    const source = connect();
    source.onopen?.();
    source.listeners.get("run")?.({ data: "{}", lastEventId: "7.1" });
    expect(said).toEqual(["state open", "run {} 7.1"]);
  });

  test("opens again after a failure", async () => {
    connect().onopen?.();
    newest().onerror?.();
    await vi.advanceTimersByTimeAsync(500);
    expect(sources).toHaveLength(2);
    expect(sources[0]?.closed).toBe(true);
    newest().onopen?.();
    expect(said).toEqual(["state open", "state open"]);
  });

  test("a later stream goes on behind the last event of the one before", async () => {
    const cursor = new StreamCursor();
    cursor.follow("runs");
    connect({ url: () => cursor.url(), onEvent: (_name, _data, id) => cursor.passed(id) });
    newest().listeners.get("run")?.({ data: "{}", lastEventId: "7.1" });
    newest().onerror?.();
    await vi.advanceTimersByTimeAsync(500);
    expect(urls).toEqual(["/api/v1/stream?topics=runs", "/api/v1/stream?topics=runs&last_event_id=7.1"]);
  });

  test("does not say lost for the ordinary end of a stream", async () => {
    connect().onopen?.();
    await vi.advanceTimersByTimeAsync(600_000);
    newest().onerror?.();
    await vi.advanceTimersByTimeAsync(500);
    newest().onopen?.();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(said).not.toContain("state lost");
  });

  test("says lost once while the server stays away, and open when it is back", async () => {
    connect().onopen?.();
    reachable = false;
    newest().onerror?.();
    await vi.advanceTimersByTimeAsync(90_000);
    expect(said.filter((line) => line === "state lost")).toHaveLength(1);
    expect(sources).toHaveLength(1);
    reachable = true;
    await vi.advanceTimersByTimeAsync(15_000);
    newest().onopen?.();
    expect(said.at(-1)).toBe("state open");
  });

  test("retryNow does not wait for the back-off and never makes a second stream", async () => {
    connect().onerror?.();
    connection?.retryNow();
    connection?.retryNow();
    await vi.advanceTimersByTimeAsync(0);
    expect(sources).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sources).toHaveLength(2);
  });

  test("stays closed once closed", async () => {
    connect().onerror?.();
    connection?.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sources).toHaveLength(1);
  });
});

describe("retryDelay", () => {
  test("doubles up to fifteen seconds", () => {
    const longest = [1, 2, 3, 10].map((failures) => retryDelay(failures, () => 1));
    expect(longest).toEqual([500, 1000, 2000, 15_000]);
  });
  test("is spread over the upper half", () => expect(retryDelay(1, () => 0)).toBe(250));
});
