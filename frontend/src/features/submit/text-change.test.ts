import { expect, test } from "vitest";
import { changeBetween } from "./text-change";

test.each([
  ["rho: 0.05\nk: 5\n", "rho: 0.1\nk: 5\n"],
  ["", "a"],
  ["a", ""],
  ["aa", "aaa"],
  ["aaa", "aa"],
  ["k: 5 # x", "k: 10 # x"],
])("the edit makes %j into %j", (before, after) => {
  const edit = changeBetween(before, after);
  expect(edit).not.toBeNull();
  if (edit) expect(before.slice(0, edit.from) + edit.insert + before.slice(edit.to)).toBe(after);
});

test("it touches no more than what differs, and nothing where nothing does", () => {
  expect(changeBetween("rho: 0.05\nk: 5\n", "rho: 0.06\nk: 5\n")).toEqual({ from: 8, to: 9, insert: "6" });
  expect(changeBetween("same", "same")).toBeNull();
});
