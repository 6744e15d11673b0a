import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { keys } from "@/api/keys";
import type { Run } from "@/api/types";
import { type EventBatch, eventBatch } from "./event-batch";

let client: QueryClient;
let batch: EventBatch;
const step = () => client.getQueryData<Run>(keys.runDetail("r1"))?.step;
const runAt = (steps: number) => ["run", JSON.stringify({ id: "r1", status: "running", step: steps })] as const;

beforeEach(() => {
  vi.useFakeTimers();
  client = new QueryClient();
  client.setQueryData(keys.runDetail("r1"), { id: "r1", status: "running", step: 0 } as Run);
  batch = eventBatch(client);
});
afterEach(() => {
  client.clear();
  vi.useRealTimers();
});

test("events wait a moment and are applied together, the last one last", () => {
  batch.add(runAt(1));
  batch.add(runAt(2));
  expect(step()).toBe(0);
  vi.advanceTimersByTime(150);
  expect(step()).toBe(2);
});

test("a stream that is closed leaves none behind, and nothing is applied twice", () => {
  batch.add(runAt(1));
  batch.flush();
  expect(step()).toBe(1);
  client.setQueryData<Run>(keys.runDetail("r1"), (run) => run && { ...run, step: 9 });
  vi.advanceTimersByTime(1_000);
  expect(step()).toBe(9);
});
