import { QueryClient } from "@tanstack/react-query";
import { beforeEach, expect, test, vi } from "vitest";
import { keys } from "@/api/keys";
import { EVERY_RUN } from "@/api/run-filter";
import type { Run, RunSummary } from "@/api/types";
import { applyEvent, refetchOvertaken, refetchTopics } from "./apply-event";
import type { Pages } from "./reducers";

const created_at = "2026-01-01T00:00:00Z";
const summary = { id: "r1", status: "running", attempt: 1, step: 10, created_at } as RunSummary;
let client: QueryClient;

beforeEach(() => {
  client = new QueryClient();
});

function cacheDetail(): void {
  client.setQueryData(keys.runDetail("r1"), { ...summary, attempts: [], notices: [] } as unknown as Run);
}

const losses = (id: string) => keys.runColumns(id, ["train_loss"], 1000);
const isStale = (key: readonly unknown[]) => client.getQueryState(key)?.isInvalidated;

test("a changed run reaches every list by its own filter, and the detail", () => {
  const page = () => ({ pages: [{ items: [summary], next_cursor: null }], pageParams: [null] });
  client.setQueryData(keys.runList(EVERY_RUN), page());
  client.setQueryData(keys.runList({ statuses: ["running"] }), page());
  cacheDetail();
  applyEvent(client, "run", JSON.stringify({ ...summary, status: "succeeded", step: 20 }));
  expect(client.getQueryData<Pages>(keys.runList(EVERY_RUN))?.pages[0]?.items[0]?.status).toBe("succeeded");
  expect(client.getQueryData<Pages>(keys.runList({ statuses: ["running"] }))?.pages[0]?.items).toEqual([]);
  expect(client.getQueryData<Run>(keys.runDetail("r1"))).toMatchObject({ status: "succeeded", step: 20, attempts: [] });
});

test("progress alone fetches nothing; a new attempt fetches detail and metrics", () => {
  cacheDetail();
  client.setQueryData(losses("r1"), { run_id: "r1", series: [] });
  applyEvent(client, "run", JSON.stringify({ ...summary, step: 20 }));
  expect(isStale(keys.runDetail("r1"))).toBe(false);
  applyEvent(client, "run", JSON.stringify({ ...summary, attempt: 2 }));
  expect(isStale(keys.runDetail("r1"))).toBe(true);
  expect(isStale(losses("r1"))).toBe(true);
});

test("numbers go to their run's columns, or call for a fetch when an attempt went back", () => {
  client.setQueryData(losses("r1"), { run_id: "r1", series: [] });
  const numbers = (step: number) => JSON.stringify({ run_id: "r1", attempt: 1, step, values: { train_loss: 2 } });
  applyEvent(client, "metrics", numbers(10));
  expect(client.getQueryData(losses("r1"))).toMatchObject({ series: [{ steps: [10], values: [2] }] });
  expect(isStale(losses("r1"))).toBe(false);
  applyEvent(client, "metrics", numbers(5));
  expect(isStale(losses("r1"))).toBe(true);
});

test("a notice joins the timeline and the run's notices", () => {
  cacheDetail();
  client.setQueryData(keys.runEvents("r1"), { items: [], next_after: null });
  const notice = { id: 7, run_id: "r1", kind: "notice", text: "does not persist" };
  applyEvent(client, "event", JSON.stringify(notice));
  expect(client.getQueryData(keys.runEvents("r1"))).toMatchObject({ items: [notice] });
  expect(client.getQueryData(keys.runDetail("r1"))).toMatchObject({ notices: [notice] });
});

test("what nobody has loaded stays unloaded, and unknown events are ignored", () => {
  applyEvent(client, "run", JSON.stringify(summary));
  applyEvent(client, "something-new", "not even JSON");
  expect(client.getQueryCache().getAll()).toEqual([]);
});

test("an answer that the stream overtook is fetched again", async () => {
  const stop = refetchOvertaken(client);
  let release = (_: unknown) => {};
  const fetch = client.fetchQuery({
    queryKey: keys.runDetail("r1"),
    queryFn: () =>
      new Promise((resolve) => {
        release = resolve;
      }),
    initialData: { ...summary, attempts: [], notices: [] } as unknown,
  });
  applyEvent(client, "run", JSON.stringify({ ...summary, status: "succeeded" }));
  release({ ...summary, attempts: [], notices: [] });
  await fetch;
  await vi.waitFor(() => expect(isStale(keys.runDetail("r1"))).toBe(true));
  stop();
});

test("a reconnect marks what the topics are about and nothing else", () => {
  cacheDetail();
  client.setQueryData(losses("r2"), { run_id: "r2", series: [] });
  refetchTopics(client, ["runs", "run:r1"]);
  expect(isStale(keys.runDetail("r1"))).toBe(true);
  expect(isStale(losses("r2"))).toBe(false);
});
