import { describe, expect, it } from "vitest";
import type { WebhookDelivery } from "@/api/types";
import { lastAnswer, testResult } from "./delivery-words";

type Attempt = WebhookDelivery["attempts"][number];

const attempt = (fields: Partial<Attempt>): Attempt => ({
  number: 1,
  at: "2026-01-01T00:00:00Z",
  milliseconds: 12,
  status_code: null,
  error: null,
  excerpt: null,
  ...fields,
});

const delivery = (state: WebhookDelivery["state"], ...attempts: Attempt[]) => ({ state, attempts }) as WebhookDelivery;

describe("lastAnswer", () => {
  it("is the last attempt's error, else its status", () => {
    expect(lastAnswer(delivery("waiting"))).toBe("not sent yet");
    expect(lastAnswer(delivery("waiting", attempt({ milliseconds: null })))).toBe("under way");
    expect(lastAnswer(delivery("failed", attempt({ status_code: 200 }), attempt({ status_code: 500 })))).toBe(
      "status 500",
    );
    expect(lastAnswer(delivery("failed", attempt({ status_code: 302, error: "302 to x" })))).toBe("302 to x");
  });
});

describe("testResult", () => {
  it("says whether the receiver took it, what it answered and how long that took", () => {
    expect(testResult(delivery("delivered", attempt({ status_code: 204 })))).toBe(
      "The receiver took it: status 204 after 12 ms.",
    );
    expect(testResult(delivery("failed", attempt({ error: "no answer within 15 s" })))).toBe(
      "The receiver did not take it: no answer within 15 s after 12 ms.",
    );
  });
});
