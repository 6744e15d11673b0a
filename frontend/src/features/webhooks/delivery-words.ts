import type { WebhookDelivery } from "@/api/types";

/** What came of the last attempt of a message, in a few words. */
export function lastAnswer(delivery: WebhookDelivery): string {
  const last = delivery.attempts.at(-1);
  if (!last) return "not sent yet";
  if (last.error) return last.error;
  return last.status_code === null ? "under way" : `status ${last.status_code}`;
}

/** The result of a test, as a sentence. */
export function testResult(delivery: WebhookDelivery): string {
  const took = delivery.attempts.at(-1)?.milliseconds;
  const within = took === null || took === undefined ? "" : ` after ${took} ms`;
  return delivery.state === "delivered"
    ? `The receiver took it: ${lastAnswer(delivery)}${within}.`
    : `The receiver did not take it: ${lastAnswer(delivery)}${within}.`;
}
