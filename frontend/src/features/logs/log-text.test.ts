import { describe, expect, test } from "vitest";
import type { LogTail } from "@/api/types";
import { continuedText, firstText, MAX_KEPT, matchingLines, partsAround } from "./log-text";

const answer = (lines: string[], end: number, more: Partial<LogTail> = {}): LogTail => ({
  source: "rank-0",
  sources: ["driver", "rank-0"],
  lines,
  truncated: false,
  end,
  ...more,
});

describe("following", () => {
  const known = firstText(answer(["a", "b"], 4, { truncated: true }));

  test("adds the lines that follow", () => {
    expect(continuedText(known, answer(["c"], 6))).toMatchObject({ lines: ["a", "b", "c"], cut: true, end: 6 });
  });

  test("no news leaves the very same lines", () => {
    expect(continuedText(known, answer([], 4)).lines).toBe(known.lines);
  });

  test("another log, or one that shrank, begins anew", () => {
    expect(continuedText(known, answer(["x"], 2))).toMatchObject({ lines: ["x"], cut: true });
    expect(continuedText(known, answer(["x"], 9, { source: "driver" }))).toMatchObject({
      lines: ["x"],
      source: "driver",
    });
  });

  test("keeps the newest lines and says that some are cut", () => {
    const many = continuedText(firstText(answer(["first"], 6)), answer(new Array(MAX_KEPT).fill("later"), 99));
    expect(many.lines).toHaveLength(MAX_KEPT);
    expect(many.lines).not.toContain("first");
    expect(many.cut).toBe(true);
  });
});

describe("searching", () => {
  test("finds whatever the case, and keeps the place", () => {
    expect(matchingLines(["Loss 1", "top", "loss 2"], "LOSS")).toEqual([
      { line: "Loss 1", index: 0 },
      { line: "loss 2", index: 2 },
    ]);
    expect(matchingLines(["a"], "")).toHaveLength(1);
  });

  test("every second part is what was wanted, and together they are the line", () => {
    const parts = partsAround("Loss 1, loss 2", "loss");
    expect(parts).toEqual(["", "Loss", " 1, ", "loss", " 2"]);
    expect(parts.join("")).toBe("Loss 1, loss 2");
    expect(partsAround("x", "")).toEqual(["x"]);
    expect(partsAround("aaa", "aa")).toEqual(["", "aa", "a"]);
  });
});
