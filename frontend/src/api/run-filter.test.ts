import { expect, test } from "vitest";
import { EVERY_RUN, matchesFilter } from "./run-filter";
import type { RunSummary } from "./types";

const run = { id: "3f9c2a71b04d", name: "LookSAM on digits", status: "running", study: "demo" } as RunSummary;

test("an empty filter takes every run", () => expect(matchesFilter(run, EVERY_RUN)).toBe(true));

test.each([
  [{ statuses: ["running", "queued"] }, true],
  [{ statuses: ["failed"] }, false],
  [{ statuses: [], q: "looksam" }, true],
  [{ statuses: [], q: "2A71" }, true],
  [{ statuses: [], q: "adamw" }, false],
  [{ statuses: [], study: "demo" }, true],
  [{ statuses: [], study: "Demo" }, false],
  [{ statuses: ["failed"], q: "looksam" }, false],
  [{ statuses: [], kept: "archived" }, false],
] as const)("%j takes it: %s", (filter, expected) => {
  expect(matchesFilter(run, filter)).toBe(expected);
});

test.each([
  [{ archived_at: "2026-01-01T00:00:00Z", deleted_at: null }, "archived"],
  [{ archived_at: null, deleted_at: "2026-01-01T00:00:00Z" }, "deleted"],
  [{ archived_at: "2026-01-01T00:00:00Z", deleted_at: "2026-01-01T00:00:00Z" }, "deleted"],
] as const)("a run with %j stands only in the list of those %s", (times, kept) => {
  const put = { ...run, ...times };
  expect(matchesFilter(put, EVERY_RUN)).toBe(false);
  expect(matchesFilter(put, { statuses: [], kept: "archived" })).toBe(kept === "archived");
  expect(matchesFilter(put, { statuses: [], kept: "deleted" })).toBe(kept === "deleted");
});
