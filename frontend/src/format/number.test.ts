import { expect, test } from "vitest";
import { formatCount, formatValue } from "./number";

test.each([
  [0, "1", "0"],
  [0.05, "1", "0.05"],
  [1.23456, "nat", "1.235"],
  [12000, "1", "12,000"],
  [12000.4, "1", "12,000"],
  [0.00012345, "1", "1.23e-4"],
  [97.25, "%", "97.3 %"],
  [-0.25, "1", "-0.25"],
  [0.0005, "1", "5e-4"],
  [2.5e9, "1", "2.5e9"],
  [0, "B", "0"],
  [512, "B", "512 B"],
  [1.5 * 2 ** 30, "B", "1.5 GiB"],
  [81_559 * 2 ** 20, "B", "79.6 GiB"],
  [1023 * 2 ** 20, "B", "1,023 MiB"],
])("formatValue(%d, %s) is %s", (value, unit, text) => {
  expect(formatValue(value, unit)).toBe(text);
});

test("a missing value is a dash and a diverged one says so", () => {
  expect(formatValue(null)).toBe("–");
  expect(formatValue(Number.NaN)).toBe("NaN");
  expect(formatCount(undefined)).toBe("–");
});
