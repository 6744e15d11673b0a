import { expect, test } from "vitest";
import { caveatsOf } from "./caveats";

const run = (changes: Record<string, unknown> = {}) => ({
  seed: 0,
  data: { source: "digits" },
  method: { name: "none" },
  evaluation: { sharpness_radius: 0.05 },
  ...changes,
});
const sam = { method: { name: "sam", rho: 0.05 } };

test("one seed for each setting is said", () => {
  expect(caveatsOf([run(), run(sam)])).toEqual([expect.stringMatching(/^One seed each/)]);
});

test("a setting with two seeds needs no such word", () => {
  expect(caveatsOf([run(), run({ seed: 1 }), run(sam)])).toEqual([]);
});

test("other data and other radii are named", () => {
  const other = run({ seed: 1, data: { source: "cifar" }, evaluation: { sharpness_radius: 0.1 } });
  expect(caveatsOf([run(), other])).toEqual([
    expect.stringContaining("different data"),
    expect.stringContaining("(0.05, 0.1)"),
    expect.stringContaining("One seed each"),
  ]);
});

test("a run without a radius does not contradict one that has it", () => {
  expect(caveatsOf([run(), run({ seed: 1, evaluation: { sharpness_radius: null } })])).toHaveLength(1);
});

test("a run alone compares with nothing", () => expect(caveatsOf([run()])).toEqual([]));
