import { expect, test } from "vitest";
import { flattened, specRows } from "./spec-diff";

const adamw = { seed: 0, method: { name: "none" }, optimizer: { name: "adamw", betas: [0.9, 0.999] } };
const look = {
  seed: 0,
  method: { k: 5, rho: 0.05, name: "looksam" },
  optimizer: { name: "adamw", betas: [0.9, 0.95] },
};

test("flattened names each leaf by its path; lists and empty sections are values", () => {
  const paths = flattened({ a: { b: { c: 1 } }, list: [1, 2], none: null, empty: {}, word: "x" });
  expect(Object.fromEntries(paths)).toEqual({ "a.b.c": "1", list: "[1,2]", none: "null", empty: "{}", word: "x" });
});

test("specRows puts values side by side, in reading order, with what only one has", () => {
  expect(specRows([adamw, look])).toEqual([
    { path: "optimizer.name", values: ["adamw", "adamw"], equal: true },
    { path: "optimizer.betas", values: ["[0.9,0.999]", "[0.9,0.95]"], equal: false },
    { path: "method.name", values: ["none", "looksam"], equal: false },
    { path: "method.k", values: [undefined, "5"], equal: false },
    { path: "method.rho", values: [undefined, "0.05"], equal: false },
    { path: "seed", values: ["0", "0"], equal: true },
  ]);
});

test("a number and the same number as text are told apart from null and absent", () => {
  const [row] = specRows([{ alpha: null }, {}]);
  expect(row).toEqual({ path: "alpha", values: ["null", undefined], equal: false });
});

test("one run differs from nothing; no run has no rows", () => {
  expect(specRows([adamw]).every(({ equal }) => equal)).toBe(true);
  expect(specRows([])).toEqual([]);
});
