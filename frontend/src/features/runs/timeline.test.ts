import { expect, test } from "vitest";
import type { TimelineEvent } from "@/api/types";
import { entriesOf, timeByStatus } from "./timeline";

const event = (id: number, kind: string) => ({ id, kind }) as TimelineEvent;

test("newest first, and of checkpoints in a row only the newest", () => {
  const events = [
    event(1, "status"),
    event(2, "checkpoint"),
    event(3, "checkpoint"),
    event(4, "attempt"),
    event(5, "checkpoint"),
  ];
  expect(entriesOf(events).map(({ event, hidden }) => [event.id, hidden])).toEqual([
    [5, 0],
    [4, 0],
    [3, 1],
    [1, 0],
  ]);
});

test("other events are never folded", () => {
  expect(entriesOf([event(1, "notice"), event(2, "notice")])).toHaveLength(2);
});

test("timeByStatus adds the stays in a status up, the open one until now", () => {
  const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();
  const states = [
    { status: "queued", began_at: at(0), ended_at: at(5), seconds: 5, attempt: null },
    { status: "running", began_at: at(5), ended_at: at(15), seconds: 10, attempt: 1 },
    { status: "queued", began_at: at(15), ended_at: null, seconds: 1, attempt: null },
  ] as const;
  expect(timeByStatus(states, Date.parse(at(22)))).toEqual([
    { status: "queued", seconds: 12 },
    { status: "running", seconds: 10 },
  ]);
  const ended = { status: "failed", began_at: at(15), ended_at: null, seconds: null, attempt: 1 } as const;
  expect(timeByStatus([ended], Date.parse(at(22)))).toEqual([]);
});
