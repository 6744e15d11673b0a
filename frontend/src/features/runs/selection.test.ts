import { describe, expect, test } from "vitest";
import { NOTHING_SELECTED, type Selection, withAll, withToggled } from "./selection";

const order = ["a", "b", "c", "d", "e"];
const ids = (selection: Selection) => [...selection.ids].sort().join("");
const ticked = (id: string, before: Selection = NOTHING_SELECTED, range = false) =>
  withToggled(before, id, order, range);

describe("withToggled", () => {
  test("ticks and unticks one row", () => {
    expect(ids(ticked("b"))).toBe("b");
    expect(ids(ticked("b", ticked("b")))).toBe("");
  });

  test("with range ticks all from the anchor on, downwards and upwards", () => {
    expect(ids(ticked("d", ticked("b"), true))).toBe("bcd");
    expect(ids(ticked("a", ticked("c"), true))).toBe("abc");
  });

  test("a range does as its last row does: it unticks, too", () => {
    const all = withAll(NOTHING_SELECTED, order);
    expect(ids(ticked("d", ticked("b", all), true))).toBe("ae");
  });

  test("what is ticked outside the range stays", () => {
    expect(ids(ticked("e", ticked("d", ticked("a")), true))).toBe("ade");
  });

  test("without an anchor in the list, a range is one row", () => {
    expect(ids(ticked("c", NOTHING_SELECTED, true))).toBe("c");
    expect(ids(ticked("c", { ids: new Set(), anchor: "gone" }, true))).toBe("c");
  });
});

test("withAll ticks all, then none", () => {
  const all = withAll(ticked("a"), order);
  expect(ids(all)).toBe("abcde");
  expect(ids(withAll(all, order))).toBe("");
});
