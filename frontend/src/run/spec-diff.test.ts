import { expect, test } from "vitest";
import { specDifferences } from "./spec-diff";

test("names what changed, came and went, by path", () => {
  const before = { seed: 0, method: { name: "sam", rho: 0.05 }, model: { arguments: {} } };
  const after = { seed: 0, method: { name: "looksam", rho: 0.05, k: 5 }, model: { arguments: { depth: 3 } } };
  expect(specDifferences(before, after)).toEqual([
    { path: "method.name", before: "sam", after: "looksam" },
    { path: "method.k", before: undefined, after: 5 },
    { path: "model.arguments.depth", before: undefined, after: 3 },
    { path: "model.arguments", before: {}, after: undefined },
  ]);
});

test("lists count as a whole, and off is not absent", () => {
  expect(specDifferences({ betas: [0.9, 0.999], steps: null }, { betas: [0.9, 0.99] })).toEqual([
    { path: "betas", before: [0.9, 0.999], after: [0.9, 0.99] },
    { path: "steps", before: null, after: undefined },
  ]);
});

test("equal specs differ nowhere, whatever the order of their keys", () => {
  expect(specDifferences({ a: 1, b: { c: 2, d: 3 } }, { b: { d: 3, c: 2 }, a: 1 })).toEqual([]);
});
