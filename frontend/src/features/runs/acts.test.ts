import { expect, test } from "vitest";
import { actsOn } from "./acts";

const NOW = "2026-01-01T00:00:00Z";

test.each([
  [{ status: "queued", archived_at: null, deleted_at: null }, ["pause"]],
  [{ status: "running", archived_at: null, deleted_at: null }, ["pause"]],
  [{ status: "pausing", archived_at: null, deleted_at: null }, ["resume"]],
  [{ status: "paused", archived_at: null, deleted_at: null }, ["resume"]],
  [{ status: "cancelling", archived_at: null, deleted_at: null }, []],
  [{ status: "failed", archived_at: null, deleted_at: null }, ["archive", "delete"]],
  [{ status: "succeeded", archived_at: NOW, deleted_at: null }, ["unarchive", "delete"]],
  [{ status: "succeeded", archived_at: NOW, deleted_at: NOW }, ["restore"]],
] as const)("%j can be acted on by %j", (run, acts) => {
  expect(actsOn(run).map(({ act }) => act)).toEqual(acts);
});
