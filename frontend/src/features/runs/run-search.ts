/** The tabs of a run's page, as the address names them: `/runs/<id>?tab=logs`. */
export const RUN_TABS = {
  charts: "Charts",
  signals: "Method signals",
  logs: "Logs",
  spec: "Spec",
  timeline: "Timeline",
} as const;

export type RunTab = keyof typeof RUN_TABS;

export interface RunSearch {
  /** Absent: the charts. */
  tab?: RunTab;
}

/** Reads the address; a tab it does not know is the first one. */
export function parseRunSearch({ tab }: Record<string, unknown>): RunSearch {
  return typeof tab === "string" && Object.hasOwn(RUN_TABS, tab) && tab !== "charts" ? { tab: tab as RunTab } : {};
}

/** The tabs of a run with this method, and the one that is open: without an ascent there are no signals to show. */
export function tabsFor(method: string, wanted: RunTab | undefined): { tabs: RunTab[]; open: RunTab } {
  const tabs = (Object.keys(RUN_TABS) as RunTab[]).filter((tab) => tab !== "signals" || method !== "none");
  return { tabs, open: wanted && tabs.includes(wanted) ? wanted : "charts" };
}
