import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiError } from "@/api/client";
import { keepRecovering, type Recovery } from "./recovery";

let client: QueryClient;
let recovery: Recovery;
let reachable: boolean;
let asked: number;
let said: boolean[];
const ends: (() => void)[] = [];

/** A query that a page shows, as `useQuery` would; answers while `reachable`, else fails with this status. */
function show(name: string, status = 0) {
  const observer = new QueryObserver(client, {
    queryKey: [name],
    queryFn: async () => {
      if (!reachable) throw new ApiError(status, "Basin does not answer", "");
      return name;
    },
    retry: false,
  });
  ends.push(observer.subscribe(() => {}));
  return observer;
}

beforeEach(() => {
  vi.useFakeTimers();
  client = new QueryClient();
  reachable = false;
  asked = 0;
  said = [];
  recovery = keepRecovering({
    client,
    apiAnswers: async () => {
      asked += 1;
      return reachable;
    },
    onAway: (away) => said.push(away),
  });
});
afterEach(() => {
  recovery.stop();
  for (const end of ends.splice(0)) end();
  client.clear();
  vi.useRealTimers();
});

test("what failed while the API was away is fetched by itself once it answers", async () => {
  const runs = show("runs");
  await vi.advanceTimersByTimeAsync(20_000);
  expect(runs.getCurrentResult().status).toBe("error");
  expect(asked).toBeGreaterThan(2);
  reachable = true;
  await vi.advanceTimersByTimeAsync(15_000);
  expect(runs.getCurrentResult().data).toBe("runs");
  expect(said).toEqual([true, false]);
});

test("one question for all that waits, further apart each time, and none when nothing waits", async () => {
  show("runs");
  show("studies");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toBeLessThan(13);
  reachable = true;
  await vi.advanceTimersByTimeAsync(15_000);
  const before = asked;
  await vi.advanceTimersByTimeAsync(120_000);
  expect(asked).toBe(before);
});

test("a refusal is an answer and is not asked for again", async () => {
  show("run", 404);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toBe(0);
  expect(said).toEqual([]);
});

test("a broken server is waited for like an absent one", async () => {
  show("runs", 503);
  // The first try comes after 250 to 500 ms, the second 500 ms later at the earliest.
  await vi.advanceTimersByTimeAsync(600);
  expect(asked).toBe(1);
});

test("retryNow does not wait for the back-off", async () => {
  const runs = show("runs");
  await vi.advanceTimersByTimeAsync(50_000);
  reachable = true;
  recovery.retryNow();
  await vi.advanceTimersByTimeAsync(0);
  expect(runs.getCurrentResult().data).toBe("runs");
});
