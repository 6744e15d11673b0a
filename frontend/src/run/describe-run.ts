import type { RunStatus, RunSummary } from "@/api/types";

const LIVE: readonly RunStatus[] = ["queued", "launching", "running", "pausing", "paused", "cancelling"];

/** Whether the run may still change by itself. */
export function isLive(run: Pick<RunSummary, "status">): boolean {
  return LIVE.includes(run.status);
}

const OVER: readonly RunStatus[] = ["succeeded", "failed", "cancelled"];

/** Whether the run waits or trains, so that it can be paused. */
export function isPausable(run: Pick<RunSummary, "status">): boolean {
  return run.status === "queued" || run.status === "launching" || run.status === "running";
}

/** Whether the run stands paused, or will in a moment. */
export function isPaused(run: Pick<RunSummary, "status">): boolean {
  return run.status === "paused" || run.status === "pausing";
}

/** Whether the run has ended. */
export function isOver(run: Pick<RunSummary, "status">): boolean {
  return OVER.includes(run.status);
}

const METHODS: Record<string, string> = {
  none: "Base optimizer",
  sam: "SAM",
  looksam: "LookSAM",
  layersam: "LayerSAM",
  look_layersam: "Look-LayerSAM",
};
const OPTIMIZERS: Record<string, string> = {
  sgd: "SGD",
  adamw: "AdamW",
  lamb: "LAMB",
  lars: "LARS",
  lion: "Lion",
  muon: "Muon",
};
/** Methods that reuse a stored direction between refreshes, for which k is always worth saying. */
const REUSING: readonly string[] = ["looksam", "look_layersam"];

/** The method as people say it: "AdamW", "SAM", "SAM k=5", "LookSAM k=5". */
export function methodLabel(run: Pick<RunSummary, "method" | "method_settings" | "optimizer">): string {
  if (run.method === "none") return OPTIMIZERS[run.optimizer] ?? run.optimizer;
  const { k } = run.method_settings;
  const name = METHODS[run.method] ?? run.method;
  return typeof k === "number" && (k > 1 || REUSING.includes(run.method)) ? `${name} k=${k}` : name;
}

/** What goes with the label: "rho 0.05 · alpha auto · AdamW"; empty for the base optimizer alone. */
export function methodDetail(run: Pick<RunSummary, "method" | "method_settings" | "optimizer">): string {
  if (run.method === "none") return "";
  const settings = Object.entries(run.method_settings).filter(([name]) => name !== "k");
  return [
    ...settings.map(([name, value]) => `${name} ${String(value).replaceAll("_", " ")}`),
    OPTIMIZERS[run.optimizer] ?? run.optimizer,
  ].join(" · ");
}

/** An end reason in a few words: "loss not finite". The full sentence comes from the API. */
export function reasonWords(reason: string): string {
  return reason.replaceAll("_", " ");
}

/** Share of the steps that are done, 0 to 100; null while the total is unknown. */
export function percentDone(run: Pick<RunSummary, "step" | "total_steps">): number | null {
  return run.total_steps ? Math.min(100, (100 * run.step) / run.total_steps) : null;
}

/** "1st", "2nd", "3rd", "11th". */
export function ordinal(place: number): string {
  const tens = place % 100;
  const suffix = tens >= 11 && tens <= 13 ? "th" : (["th", "st", "nd", "rd"][place % 10] ?? "th");
  return `${place}${suffix}`;
}
