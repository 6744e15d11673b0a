import { describe, expect, test } from "vitest";
import { formatAgo, formatDuration, secondsBetween } from "./duration";

describe("formatDuration", () => {
  test.each([
    [0, "0 s"],
    [3.14, "3.1 s"],
    [9.96, "10 s"],
    [59.4, "59 s"],
    [59.6, "1 min"],
    [125, "2 min 5 s"],
    [3600, "1 h"],
    [3725, "1 h 2 min"],
    [86_400 * 2 + 3600 * 4, "2 d 4 h"],
  ])("says %d seconds as %s", (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });

  test.each([null, undefined, Number.NaN, Number.POSITIVE_INFINITY, -1])("says %s as a dash", (seconds) => {
    expect(formatDuration(seconds)).toBe("–");
  });
});

describe("secondsBetween", () => {
  const start = "2026-01-01T00:00:00Z";
  const now = Date.parse("2026-01-01T00:01:00Z");

  test("runs to now while the end is open", () => expect(secondsBetween(start, null, now)).toBe(60));
  test("stops at the end", () => expect(secondsBetween(start, "2026-01-01T00:00:05Z", now)).toBe(5));
  test("is null before the start", () => expect(secondsBetween(null, null, now)).toBeNull());
  test("is never negative when the clocks differ", () =>
    expect(secondsBetween("2026-01-01T00:02:00Z", null, now)).toBe(0));
});

describe("formatAgo", () => {
  const now = Date.parse("2026-01-10T12:00:00Z");
  test.each([
    ["2026-01-10T11:59:40Z", "just now"],
    ["2026-01-10T11:48:00Z", "12 min ago"],
    ["2026-01-10T09:00:00Z", "3 h ago"],
    ["2026-01-08T12:00:00Z", "2 d ago"],
  ])("says %s as %s", (at, text) => {
    expect(formatAgo(at, now)).toBe(text);
  });
});
