import { describe, expect, test } from "vitest";
import { filterOf, parseRunListSearch } from "./run-list-search";

describe("parseRunListSearch", () => {
  test("keeps what it knows", () => {
    const search = { status: "failed", study: "sweep & co", q: "look" };
    expect(parseRunListSearch(search)).toEqual(search);
  });
  test.each([[{}], [{ status: "silly" }], [{ status: 3 }], [{ status: "toString" }], [{ q: "  " }], [{ study: "" }]])(
    "drops %j",
    (search) => {
      expect(parseRunListSearch(search)).toEqual({});
    },
  );
  test("cuts what no name can be as long as", () => {
    expect(parseRunListSearch({ q: "x".repeat(500) }).q).toHaveLength(128);
  });
});

test("filterOf gives what the API filters by", () => {
  expect(filterOf({})).toEqual({ statuses: [] });
  expect(filterOf({ status: "active", study: "s", q: "a" })).toMatchObject({ study: "s", q: "a" });
  expect(filterOf({ status: "active" }).statuses).toContain("cancelling");
  expect(filterOf({ status: "archived" })).toEqual({ statuses: [], kept: "archived" });
  expect(filterOf({ status: "active" }).statuses).not.toContain("succeeded");
});
