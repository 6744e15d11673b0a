import type { Readable } from "openapi-typescript-helpers";
import type { components } from "./schema.gen";

/** As `openapi-fetch` types what it answers. */
type Schemas = Readable<components["schemas"]>;

/** Short names for the generated types; nothing here is written by hand. */
export type Run = Schemas["Run"];
export type RunSummary = Schemas["RunSummary"];
export type RunStatus = Schemas["RunStatus"];
export type StateSpan = Schemas["StateSpan"];
export type RunPage = Schemas["RunPage"];
export type Attempt = Schemas["Attempt"];
export type TimelineEvent = Schemas["TimelineEvent"];
export type EventPage = Schemas["EventPage"];
export type MetricColumns = Schemas["MetricColumns"];
export type MetricSeries = Schemas["Series"];
export type MetricsChange = Schemas["MetricsChange"];
export type MetricInfo = Schemas["MetricInfo"];
export type LogTail = Schemas["LogTail"];
export type SpecProblem = Schemas["SpecProblem"];
export type DryRun = Schemas["DryRun"];
export type Study = Schemas["Study"];
export type RunEdit = Schemas["RunEdit"];
export type Me = Schemas["Me"];
export type Webhook = Schemas["Webhook"];
export type WebhookSubmission = Schemas["WebhookSubmission"];
export type WebhookEdit = Schemas["WebhookEdit"];
export type WebhookDelivery = Schemas["WebhookDelivery"];
export type EventType = Schemas["EventType"];
