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
] as const)("%j takes it: %s", (filter, expected) => {
  expect(matchesFilter(run, filter)).toBe(expected);
});
