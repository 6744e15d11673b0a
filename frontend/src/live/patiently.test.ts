import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { patiently } from "./patiently";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("a part that comes is taken as it comes", async () => {
  const answers = vi.fn(async () => true);
  expect(await patiently(async () => "page", answers)()).toBe("page");
  expect(answers).not.toHaveBeenCalled();
});

test("while the server is away it waits, and loads once it answers", async () => {
  let away = true;
  const load = vi.fn(async () => {
    if (away) throw new TypeError("Failed to fetch dynamically imported module");
    return "page";
  });
  const page = patiently(load, async () => !away)();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(load).toHaveBeenCalledTimes(1);
  away = false;
  await vi.advanceTimersByTimeAsync(15_000);
  expect(await page).toBe("page");
});

test("a part that an answering server does not have fails", async () => {
  const load = async () => {
    throw new TypeError("Failed to fetch dynamically imported module");
  };
  await expect(patiently(load, async () => true)()).rejects.toThrow("dynamically imported");
});
