import { expect, test } from "vitest";
import type { TimelineEvent } from "@/api/types";
import { entriesOf } from "./timeline";

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
