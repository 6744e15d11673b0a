import type { MetricInfo, Run } from "@/api/types";

/** What a comparison shows unless its address says otherwise. */
const ALWAYS = ["train_loss", "validation_loss", "validation_top1"];
/** And what the runs' methods saw, where any of them saw it. */
const SIGNALS = ["loss_rise", "orthogonal_ratio", "direction_cosine", "gradient_cosine"];
/** The same quantity on both sets. */
const PAIRS: readonly (readonly [string, string])[] = [
  ["train_loss", "validation_loss"],
  ["train_top1", "validation_top1"],
];

const GROUPS: Record<MetricInfo["group"], string> = {
  training: "Training",
  validation: "Validation",
  method: "Method signals",
  speed: "Speed and cost",
};

/** The metrics to draw, in the order of the catalogue; unknown names in the address are passed over. */
export function chosenMetrics(
  asked: readonly string[],
  runs: readonly Pick<Run, "latest">[],
  catalogue: readonly MetricInfo[],
): MetricInfo[] {
  const wanted = asked.length > 0 ? asked : defaultMetrics(runs);
  return catalogue.filter(({ name }) => wanted.includes(name));
}

export function defaultMetrics(runs: readonly Pick<Run, "latest">[]): string[] {
  return [...ALWAYS, ...SIGNALS.filter((name) => runs.some(({ latest }) => name in latest))];
}

/** The metrics chart by chart: each its own, or training and validation of a quantity together. */
export function chartGroups(metrics: readonly MetricInfo[], paired: boolean): MetricInfo[][] {
  const groups: MetricInfo[][] = [];
  for (const metric of metrics) {
    const partner = paired ? PAIRS.find(([, validation]) => validation === metric.name)?.[0] : undefined;
    const group = groups.find(([first]) => partner !== undefined && first?.name === partner);
    if (group) group.push(metric);
    else groups.push([metric]);
  }
  return groups;
}

/** The catalogue by group, as a menu offers it. */
export function metricMenu(catalogue: readonly MetricInfo[]): { title: string; metrics: MetricInfo[] }[] {
  return Object.entries(GROUPS).map(([group, title]) => ({
    title,
    metrics: catalogue.filter((metric) => metric.group === group),
  }));
}

/** A title as mathematics is written: the catalogue keeps to plain letters. */
export function metricTitle(metric: Pick<MetricInfo, "title">): string {
  return metric.title.replaceAll("||", "‖").replaceAll("eps", "ε").replaceAll(")-L", ") − L").replaceAll("*", "·");
}

/** The range that values of the metric can have, for its axis. */
export function boundsOf(metric: MetricInfo): readonly [number, number] | undefined {
  if (metric.unit === "%") return [0, 100];
  return isCosine(metric) ? [-1, 1] : undefined;
}

/** Whether the sign of the metric matters. */
export function isSigned(metric: MetricInfo): boolean {
  return isCosine(metric) || metric.name === "loss_rise";
}

/** Of all tensors ("direction_cosine") or of a part of them ("direction_cosine/head"). */
function isCosine(metric: MetricInfo): boolean {
  return metric.name.split("/")[0]?.endsWith("_cosine") ?? false;
}
