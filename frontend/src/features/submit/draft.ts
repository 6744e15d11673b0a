import { inReadingOrder } from "@/run/spec-order";
import { specYaml } from "@/run/spec-yaml";
import type { Spec } from "./spec-document";
import { TEMPLATE } from "./template";

/** All that a person has entered and not yet submitted. */
export interface Draft {
  /** The spec as YAML: the form shows what it says. */
  text: string;
  name: string;
  study: string;
  /** As typed; "" is the default, 0. */
  priority: string;
  project: string;
  visibility: "team" | "private";
}

/** What a draft begins with: a template, or the request of the run that is copied. */
export interface Origin {
  draft: Draft;
  copiedFrom: string | null;
}

/** A new run. */
export function newOrigin(study = ""): Origin {
  const draft: Draft = { text: TEMPLATE, name: "", study, priority: "", project: "", visibility: "team" };
  return { draft, copiedFrom: null };
}

/** An edited copy of a run, from its request as it was sent. The name is left off: the copy shall have its own. */
export function originOf(runId: string, request: Record<string, unknown>, study?: string): Origin {
  const { spec, project, visibility, priority } = request;
  const text = specYaml(inReadingOrder(isSpec(spec) ? spec : {}));
  const draft: Draft = {
    text,
    name: "",
    study: study ?? (typeof request.study === "string" ? request.study : ""),
    priority: typeof priority === "number" && priority !== 0 ? String(priority) : "",
    project: typeof project === "string" ? project : "",
    visibility: visibility === "private" ? "private" : "team",
  };
  return { draft, copiedFrom: runId };
}

/** The body of POST /runs: what a person left empty is left out. */
export function submissionOf(draft: Draft, spec: Spec, copiedFrom: string | null): Record<string, unknown> {
  const priority = draft.priority.trim();
  return {
    spec,
    ...(draft.name.trim() && { name: draft.name.trim() }),
    ...(draft.study.trim() && { study: draft.study.trim() }),
    // What is no whole number goes as it is, so that the API says what is allowed.
    ...(priority && { priority: /^[-+]?\d+$/.test(priority) ? Number(priority) : priority }),
    ...(draft.project.trim() && { project: draft.project.trim() }),
    ...(draft.visibility === "private" && { visibility: draft.visibility }),
    ...(copiedFrom && { copied_from: copiedFrom }),
  };
}

/** The shell command that submits the same, with the YAML in `file`. */
export function commandOf(draft: Draft, file: string): string {
  const priority = draft.priority.trim();
  const options = [
    ["--name", draft.name.trim()],
    ["--study", draft.study.trim()],
    ["--priority", /^[-+]?\d+$/.test(priority) ? priority : ""],
    ["--project", draft.project.trim()],
  ] as const;
  const given = options.filter(([, value]) => value !== "").map(([option, value]) => `${option} ${quoted(value)}`);
  return ["basin run submit", quoted(file), ...given].join(" ");
}

/** A name for the file that holds the YAML. */
export function fileNameOf(draft: Draft): string {
  const plain = draft.name
    .trim()
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "");
  return `${plain || "spec"}.yaml`;
}

/** One word for a POSIX shell. */
function quoted(value: string): string {
  return /^[A-Za-z0-9_./:=@%+-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`;
}

function isSpec(value: unknown): value is Spec {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
