import { expect, test } from "vitest";
import { MAX_COMPARED } from "../compare-search";
import { pointsFor, shownIds } from "./compared-runs";

test("named runs first, then the study's from the oldest on, each once", () => {
  expect(shownIds(["b", "x"], ["c", "b", "a"])).toEqual({ ids: ["b", "x", "a", "c"], left: 0 });
});

test("a run that joins the study comes last, so that no colour changes", () => {
  const before = shownIds([], ["b", "a"]).ids;
  expect(shownIds([], ["c", "b", "a"]).ids.slice(0, 2)).toEqual(before);
});

test("of too many the newest are shown and the rest is counted", () => {
  const study = Array.from({ length: MAX_COMPARED + 5 }, (_, index) => `r${index}`);
  const { ids, left } = shownIds(["x"], study);
  expect(ids).toHaveLength(MAX_COMPARED);
  expect(ids[0]).toBe("x");
  expect(ids.at(-1)).toBe("r0");
  expect(left).toBe(6);
});

test("more runs, fewer points each: the page's total stays bounded", () => {
  for (const runs of [1, 6, 7, 12, 13, MAX_COMPARED]) expect(runs * pointsFor(runs)).toBeLessThanOrEqual(7500);
});
