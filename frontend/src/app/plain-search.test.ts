import { expect, test } from "vitest";
import { parsePlainSearch, stringifyPlainSearch } from "./plain-search";

test("an id of digits, and one that reads as a number, stay text", () => {
  expect(parsePlainSearch("?runs=123456789012")).toEqual({ runs: "123456789012" });
  expect(parsePlainSearch("?runs=12e345678901")).toEqual({ runs: "12e345678901" });
});

test("lists stay readable; what is off is left out", () => {
  expect(stringifyPlainSearch({ runs: "a,b", smooth: 0.6, log: true, pair: false, x: undefined })).toBe(
    "?runs=a,b&smooth=0.6&log=true",
  );
  expect(stringifyPlainSearch({})).toBe("");
});

test("any name survives the way there and back", () => {
  const study = 'sweep & "ρ" = 5% + ünïcode, 🙂 #1';
  expect(parsePlainSearch(stringifyPlainSearch({ study }))).toEqual({ study });
});
