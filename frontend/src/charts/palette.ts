/**
 * Series colours after Okabe and Ito (https://jfly.uni-koeln.de/color/): distinct with every common colour blindness.
 * Light and dark variants keep a contrast of at least 3:1 against the card they are drawn on. A dash pattern goes with
 * each role, so that colour never carries the meaning alone.
 */
export type Role = "training" | "validation" | "signal" | "second";
export type Scheme = "light" | "dark";

interface Stroke {
  light: string;
  dark: string;
  dash: number[];
}

const STROKES: Record<Role, Stroke> = {
  training: { light: "#0072b2", dark: "#56b4e9", dash: [] },
  validation: { light: "#c24e00", dark: "#f0a35e", dash: [7, 4] },
  signal: { light: "#007a5a", dark: "#2fc79a", dash: [] },
  second: { light: "#a64d79", dark: "#e08bb8", dash: [3, 3] },
};

export interface ChartColors {
  axis: string;
  grid: string;
  marker: string;
  reference: string;
}

const CHROME: Record<Scheme, ChartColors> = {
  light: { axis: "#5c6770", grid: "#e9edf0", marker: "#7048a8", reference: "#9aa5ad" },
  dark: { axis: "#9aa6b2", grid: "#2b333b", marker: "#c4a5f5", reference: "#6b7783" },
};

export function strokeOf(role: Role, scheme: Scheme): string {
  return STROKES[role][scheme];
}

export function dashOf(role: Role): number[] {
  return STROKES[role].dash;
}

export function chromeOf(scheme: Scheme): ChartColors {
  return CHROME[scheme];
}
