import { expect, test } from "vitest";
import { inReadingOrder } from "./spec-order";

test("sections come in reading order, the kind first in each, and nothing is lost", () => {
  const stored = {
    seed: 1,
    new_field: 2,
    method: { k: 5, rho: 0.05, name: "looksam" },
    model: { name: "vit" },
    steps: 10,
  };
  const ordered = inReadingOrder(stored);
  expect(Object.keys(ordered)).toEqual(["model", "method", "steps", "seed", "new_field"]);
  expect(Object.keys(ordered.method as object)).toEqual(["name", "k", "rho"]);
  expect(ordered).toEqual(stored);
});

test("lists keep their order", () => {
  expect(inReadingOrder({ optimizer: { betas: [0.9, 0.999], name: "adamw" } })).toEqual({
    optimizer: { name: "adamw", betas: [0.9, 0.999] },
  });
});
