import { expect, test } from "vitest";
import { parseRunSearch, tabsFor } from "./run-search";

test.each([
  [{ tab: "logs" }, { tab: "logs" }],
  [{ tab: "charts" }, {}],
  [{ tab: "toString" }, {}],
  [{ tab: 3 }, {}],
  [{}, {}],
])("the address %j opens %j", (search, read) => expect(parseRunSearch(search)).toEqual(read));

test("a method without an ascent has no signals, and a link to them shows the charts", () => {
  expect(tabsFor("none", "signals")).toEqual({ tabs: ["charts", "logs", "spec", "timeline"], open: "charts" });
  expect(tabsFor("looksam", "signals").open).toBe("signals");
  expect(tabsFor("looksam", undefined).open).toBe("charts");
});
