import { describe, expect, test } from "vitest";
import { parseRunListSearch, statusesOf } from "./run-list-search";

describe("parseRunListSearch", () => {
  test("keeps a filter it knows", () => expect(parseRunListSearch({ status: "failed" })).toEqual({ status: "failed" }));
  test.each([[{}], [{ status: "silly" }], [{ status: 3 }], [{ status: "toString" }]])("drops %j", (search) => {
    expect(parseRunListSearch(search)).toEqual({});
  });
});

test("statusesOf gives what the API filters by", () => {
  expect(statusesOf(undefined)).toEqual([]);
  expect(statusesOf("active")).toContain("cancelling");
  expect(statusesOf("active")).not.toContain("succeeded");
});
