import { describe, expect, test } from "vitest";
import type { MetricColumns, RunSummary, TimelineEvent } from "@/api/types";
import { MAX_LIVE_POINTS, type Pages, withEvent, withPoint, withRun } from "./reducers";

function run(id: string, minute: number, status: RunSummary["status"] = "running"): RunSummary {
  const created_at = `2026-01-01T00:${String(minute).padStart(2, "0")}:00Z`;
  return { id, status, created_at, name: id } as RunSummary;
}

function list(pages: RunSummary[][], next_cursor: string | null = null): Pages {
  return {
    pages: pages.map((items, index) => ({ items, next_cursor: index < pages.length - 1 ? "more" : next_cursor })),
    pageParams: pages.map(() => null),
  };
}

const ids = (pages: Pages) => pages.pages.map((page) => page.items.map((item) => item.id));

describe("withRun", () => {
  test("replaces a run in its place, on whichever page", () => {
    const before = list([[run("c", 3)], [run("b", 2), run("a", 1)]]);
    const after = withRun(before, run("b", 2, "succeeded"), { statuses: [] });
    expect(ids(after)).toEqual([["c"], ["b", "a"]]);
    expect(after.pages[1]?.items[0]?.status).toBe("succeeded");
    expect(before.pages[1]?.items[0]?.status).toBe("running");
  });

  test("puts a new run on top", () => {
    expect(ids(withRun(list([[run("a", 1)]]), run("b", 2, "queued"), { statuses: [] }))).toEqual([["b", "a"]]);
  });

  test("takes a run out that no longer matches the filter, and lets none in", () => {
    const running = list([[run("b", 2), run("a", 1)]]);
    expect(ids(withRun(running, run("b", 2, "failed"), { statuses: ["running"] }))).toEqual([["a"]]);
    expect(withRun(running, run("c", 3, "queued"), { statuses: ["running"] })).toBe(running);
  });

  test("leaves a run for the page it belongs to while that is not loaded", () => {
    const first = list([[run("c", 3), run("b", 2)]], "more");
    expect(withRun(first, run("a", 1), { statuses: [] })).toBe(first);
  });

  test("fills an empty list", () => {
    expect(ids(withRun(list([[]]), run("a", 1), { statuses: [] }))).toEqual([["a"]]);
  });
});

describe("withPoint", () => {
  const columns: MetricColumns = {
    run_id: "r",
    series: [{ name: "train_loss", steps: [10], values: [2], minima: [1.5], maxima: [2.5], bucket_steps: 10 }],
  };
  const change = (step: number, values: Record<string, number | null>) => ({ run_id: "r", attempt: 1, step, values });

  test("appends to every column and begins series that are new", () => {
    const after = withPoint(columns, change(20, { train_loss: 1, alpha: null }));
    expect(after?.series).toEqual([
      { name: "train_loss", steps: [10, 20], values: [2, 1], minima: [1.5, 1], maxima: [2.5, 1], bucket_steps: 10 },
      { name: "alpha", steps: [20], values: [null], minima: null, maxima: null, bucket_steps: 1 },
    ]);
    expect(columns.series[0]?.steps).toEqual([10]);
  });

  test("takes a repeat of the newest step for what it is", () => {
    expect(withPoint(columns, change(10, { train_loss: 2 }))?.series).toEqual(columns.series);
  });

  test("asks for a fetch when an attempt goes back", () => {
    expect(withPoint(columns, change(5, { train_loss: 2 }))).toBeNull();
  });

  test("asks for a fetch when the columns have grown long", () => {
    const steps = Array.from({ length: MAX_LIVE_POINTS }, (_, index) => index + 1);
    const long = { run_id: "r", series: [{ ...columns.series[0], name: "train_loss", steps, values: steps }] };
    expect(withPoint(long as MetricColumns, change(MAX_LIVE_POINTS + 1, { train_loss: 1 }))).toBeNull();
  });
});

describe("withEvent", () => {
  const event = (id: number) => ({ id, text: `event ${id}` }) as TimelineEvent;
  test("keeps the order of ids, whatever the order of arrival", () => {
    expect(withEvent([event(1), event(3)], event(2)).map(({ id }) => id)).toEqual([1, 2, 3]);
  });
  test("ignores a repeat", () => {
    const events = [event(1)];
    expect(withEvent(events, event(1))).toBe(events);
  });
});
