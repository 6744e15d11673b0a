/**
 * Series colours after Okabe and Ito (https://jfly.uni-koeln.de/color/): distinct with every common colour blindness.
 * Light and dark variants keep a contrast of at least 3:1 against the card they are drawn on. A dash pattern goes with
 * each role, so that colour never carries the meaning alone.
 */
export type Role = "training" | "validation" | "signal" | "second" | "third";
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
  third: { light: "#5f3300", dark: "#ae7744", dash: [10, 3, 2, 3] },
};

/**
 * Colours of runs in order. Chosen by search: each pair is at least 7 apart (CIEDE2000) in both themes as seen with
 * full sight, protanopia, deuteranopia and tritanopia (Machado et al. 2009), each at least 3:1 against its card.
 */
const RUN_COLORS: readonly Record<Scheme, string>[] = [
  { light: "#0072b2", dark: "#56b4e9" },
  { light: "#c24e00", dark: "#f0a35e" },
  { light: "#0b5a3c", dark: "#3f9f74" },
  { light: "#3820aa", dark: "#8f72ff" },
  { light: "#a7254a", dark: "#fc758f" },
  { light: "#8d885b", dark: "#d7d1a1" },
  { light: "#b17683", dark: "#ffbecb" },
  { light: "#5f3300", dark: "#ae7744" },
  { light: "#6a88b1", dark: "#b4d1fe" },
  { light: "#661b70", dark: "#b366bb" },
  { light: "#553151", dark: "#9e7699" },
  { light: "#b8478f", dark: "#e58ac4" },
];
/** Runs beyond the colours take them again with the next dash; so does each further metric of a chart. */
const DASHES: readonly number[][] = [[], [7, 4], [2, 3], [10, 3, 2, 3], [14, 5]];

/** How a line is drawn, dash lengths in CSS pixels. */
export interface LineStyle {
  color: string;
  dash: readonly number[];
}

/** The style of the line of run `place` (from 0) and of the `metric`-th of the `metrics` of a chart. */
export function runStyle(place: number, scheme: Scheme, metric = 0, metrics = 1): LineStyle {
  const color = RUN_COLORS[place % RUN_COLORS.length]?.[scheme] ?? "";
  const round = Math.floor(place / RUN_COLORS.length);
  return { color, dash: DASHES[(round * metrics + metric) % DASHES.length] ?? [] };
}

export const DISTINCT_RUN_COLORS = RUN_COLORS.length;

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

export function roleStyle(role: Role, scheme: Scheme): LineStyle {
  return { color: STROKES[role][scheme], dash: STROKES[role].dash };
}

export function chromeOf(scheme: Scheme): ChartColors {
  return CHROME[scheme];
}
