import { expect, test } from "vitest";
import { editFault, editFieldsOf, editOf } from "./edit";

const run = { name: "a run", study: "s", priority: 0 };
const fields = editFieldsOf(run);

test("asks for what differs, and for nothing where nothing does", () => {
  expect(editOf(run, fields)).toBeNull();
  expect(editOf(run, { ...fields, name: " a run " })).toBeNull();
  expect(editOf(run, { name: "b", study: "t", priority: "-5" })).toEqual({ name: "b", study: "t", priority: -5 });
});

test("an empty study takes the run out of it; none stays none", () => {
  expect(editOf(run, { ...fields, study: " " })).toEqual({ study: null });
  expect(editOf({ ...run, study: null }, { ...fields, study: "" })).toBeNull();
});

test.each([
  [{ ...fields, name: " " }, "name"],
  [{ ...fields, priority: "high" }, "priority"],
  [{ ...fields, priority: "1001" }, "priority"],
  [{ ...fields, priority: "1.5" }, "priority"],
])("%j has a fault", (wrong, field) => expect(editFault(wrong)?.field).toBe(field));

test("what the API takes has none", () => expect(editFault({ ...fields, priority: "-1000" })).toBeNull());
