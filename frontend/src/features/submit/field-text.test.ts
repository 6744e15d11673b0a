import { describe, expect, test } from "vitest";
import { textOf, typedValue } from "./field-text";

const number = { kind: "number", integer: false } as const;
const pair = { kind: "numbers", length: 2 } as const;
const mapping = { kind: "mapping" } as const;

describe("numbers", () => {
  test.each([
    ["0.05", 0.05],
    [" 1e-3 ", 0.001],
    [".5", 0.5],
    ["-1.", -1],
    ["", undefined],
  ])("%j is %s", (text, value) => expect(typedValue(text, number)).toEqual({ ok: true, value }));

  test.each(["abc", "0x10", "1,5", "1e", "Infinity", "1e999"])("%j is none", (text) => {
    expect(typedValue(text, number)).toMatchObject({ ok: false, reason: expect.stringContaining(text) });
  });
});

test("lists take commas, spaces and brackets, and say how many they want", () => {
  expect(typedValue("[0.9, 0.99]", pair)).toEqual({ ok: true, value: [0.9, 0.99] });
  expect(typedValue("0.9 0.99", pair)).toEqual({ ok: true, value: [0.9, 0.99] });
  expect(typedValue("0.9", pair)).toMatchObject({ ok: false, reason: expect.stringContaining("2 numbers") });
  expect(typedValue("0.9, x", pair)).toMatchObject({ ok: false });
});

test("a mapping is written as lines of name and value", () => {
  const value = { patch_size: 2, class_token: false };
  expect(textOf(value, mapping)).toBe("patch_size: 2\nclass_token: false");
  expect(typedValue(textOf(value, mapping), mapping)).toEqual({ ok: true, value });
  expect(typedValue("patch_size", mapping)).toMatchObject({ ok: false });
  expect(typedValue("a: [", mapping)).toMatchObject({ ok: false });
});

test("what is off is an empty field; what is odd is still shown", () => {
  expect(textOf(null, number)).toBe("");
  expect(textOf(undefined, number)).toBe("");
  expect(textOf(0, number)).toBe("0");
  expect(textOf({ a: 1 }, number)).toBe('{"a":1}');
});
