import { describe, expect, test } from "vitest";
import { listOf, parseCompareSearch, toggled, withoutRun, wordsOf } from "./compare-search";

describe("parseCompareSearch", () => {
  test("reads every part of an address", () => {
    const search = {
      runs: "a1,b2",
      study: "sweep of ρ, small",
      x: "gradient_evaluations",
      smooth: "0.6",
      log: "true",
      pair: "true",
      metrics: "train_loss,sharpness",
      baseline: "a1",
      hidden: "b2",
      equal: "true",
      sort: "-validation_top1",
    };
    expect(parseCompareSearch(search)).toEqual({ ...search, smooth: 0.6, log: true, pair: true, equal: true });
  });

  test("what it has read it reads again the same", () => {
    const once = parseCompareSearch({ runs: "a,b,a", smooth: 5, log: true, x: "epoch" });
    expect(once).toEqual({ runs: "a,b", smooth: 0.99, log: true, x: "epoch" });
    expect(parseCompareSearch({ ...once })).toEqual(once);
  });

  test.each([
    [{ runs: "../../etc,UPPER,<script>" }],
    [{ runs: "" }],
    [{ runs: ["a"] }],
    [{ study: "" }],
    [{ study: "x".repeat(129) }],
    [{ x: "step" }],
    [{ x: "toString" }],
    [{ smooth: "much" }],
    [{ smooth: "-1" }],
    [{ smooth: "0" }],
    [{ log: "false" }],
    [{ sort: "a b" }],
  ])("drops %j", (search) => {
    expect(parseCompareSearch(search)).toEqual({});
  });

  test("keeps what is right in a list", () => {
    expect(parseCompareSearch({ runs: "a1, ,B!,c3" })).toEqual({ runs: "a1,c3" });
  });
});

test("lists: words there and back, each once", () => {
  expect(wordsOf(undefined)).toEqual([]);
  expect(listOf([])).toBeUndefined();
  expect(listOf(["a", "b", "a"])).toBe("a,b");
  expect(toggled("a,b", "b")).toBe("a");
  expect(toggled(toggled("a", "b"), "a")).toBe("b");
  expect(toggled("a", "a")).toBeUndefined();
});

test("withoutRun forgets it everywhere", () => {
  expect(withoutRun({ runs: "a,b", hidden: "a", baseline: "a", log: true }, "a")).toEqual({ runs: "b", log: true });
  expect(withoutRun({ runs: "a,b", baseline: "a" }, "b")).toEqual({ runs: "a", baseline: "a" });
});
