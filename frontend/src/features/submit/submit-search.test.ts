import { expect, test } from "vitest";
import { parseSubmitSearch } from "./submit-search";

test.each([
  [
    { from: "3f9c2a71b04d", study: " a study " },
    { from: "3f9c2a71b04d", study: "a study" },
  ],
  [
    { from: "123456789012", study: "7" },
    { from: "123456789012", study: "7" },
  ],
  [{ from: "../../x", study: "" }, {}],
  [{ from: ["a"], study: null, other: 1 }, {}],
])("reads %j", (search, read) => expect(parseSubmitSearch(search)).toEqual(read));
