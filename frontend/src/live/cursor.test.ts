import { beforeEach, describe, expect, test } from "vitest";
import { StreamCursor } from "./cursor";

const REPLAYS = JSON.stringify({ life_seconds: 600, replays: true });
const STARTS_HERE = JSON.stringify({ life_seconds: 600, replays: false });
let cursor: StreamCursor;

beforeEach(() => {
  cursor = new StreamCursor();
  cursor.follow("run:a,runs");
});

describe("where the stream opens", () => {
  test("at first without an id", () => expect(cursor.url()).toBe("/api/v1/stream?topics=run%3Aa%2Cruns"));

  test("then behind the last event", () => {
    cursor.passed("17.4");
    cursor.passed("17.9");
    expect(cursor.url()).toBe("/api/v1/stream?topics=run%3Aa%2Cruns&last_event_id=17.9");
  });

  test("an event without an id changes nothing", () => {
    cursor.passed("17.4");
    cursor.passed("");
    expect(cursor.url()).toContain("last_event_id=17.4");
  });

  test("the same topics again go on, others begin anew", () => {
    cursor.passed("17.4");
    cursor.follow("run:a,runs");
    expect(cursor.url()).toContain("last_event_id=17.4");
    cursor.follow("runs");
    expect(cursor.url()).toBe("/api/v1/stream?topics=runs");
  });
});

describe("what must be fetched", () => {
  test("everything at the first hello, whatever it says: the page may have fetched before", () => {
    cursor.url();
    expect(cursor.mustFetch("hello", REPLAYS)).toBe(true);
  });

  test("nothing when the server replays what was missed", () => {
    cursor.passed("17.4");
    cursor.url();
    expect(cursor.mustFetch("hello", REPLAYS)).toBe(false);
  });

  test("everything when it cannot", () => {
    cursor.passed("17.4");
    cursor.url();
    expect(cursor.mustFetch("hello", STARTS_HERE)).toBe(true);
    expect(cursor.mustFetch("hello", '{"life_seconds": 600}')).toBe(true);
    expect(cursor.mustFetch("hello", "not JSON")).toBe(true);
  });

  test("everything at a resync, nothing at an ordinary change", () => {
    cursor.passed("17.4");
    cursor.url();
    expect(cursor.mustFetch("resync", "{}")).toBe(true);
    expect(cursor.mustFetch("run", REPLAYS)).toBe(false);
  });

  test("the id that counts is the one that was sent, not the hello's own", () => {
    cursor.url();
    cursor.passed("17.4");
    expect(cursor.mustFetch("hello", REPLAYS)).toBe(true);
  });
});
