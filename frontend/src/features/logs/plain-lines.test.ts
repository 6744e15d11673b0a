import { expect, test } from "vitest";
import { plainLines } from "./plain-lines";

test("colours go, text stays", () => {
  expect(plainLines(["\u001b[31mERROR\u001b[0m: rank 1"])).toEqual(["ERROR: rank 1"]);
});

test("of a progress bar the last state is left", () => {
  expect(plainLines(["10 %\r20 %\r30 %\r"])).toEqual(["30 %"]);
});
