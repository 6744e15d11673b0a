import { expect, test } from "vitest";
import { parseStudiesSearch } from "./studies-search";

test("keeps a word and drops what is none", () => {
  expect(parseStudiesSearch({ q: " sweep " })).toEqual({ q: "sweep" });
  for (const search of [{}, { q: "  " }, { q: 3 }]) expect(parseStudiesSearch(search)).toEqual({});
});
