import { isXKind, type XKind } from "@/charts/x-axis";

/** Most runs that are drawn at once: beyond it lines can no longer be told apart. */
export const MAX_COMPARED = 30;
/** Smoothing weights end before 1, where nothing would move any more. */
export const MAX_SMOOTHING = 0.99;

/** The address of a comparison, `/compare?runs=a,b&x=epoch`: all that a person can set is in it. */
export interface CompareSearch {
  /** Run ids with commas, in the order of their colours. */
  runs?: string;
  /** All runs of this study as well. */
  study?: string;
  x?: XKind;
  smooth?: number;
  log?: boolean;
  /** Training and validation of a quantity in one chart. */
  pair?: boolean;
  /** Names of metrics with commas; absent: those that fit the runs. */
  metrics?: string;
  /** The run that the others are held against. */
  baseline?: string;
  /** Runs that are not drawn, with commas. */
  hidden?: string;
  /** Rows of the specs' comparison that are equal, too. */
  equal?: boolean;
  /** Column of the table, with a minus for descending. */
  sort?: string;
}

const RUN_ID = /^[a-z0-9]{1,16}$/;
const WORD = /^-?[a-z0-9_]{1,64}$/;
const MAX_STUDY_LENGTH = 128;

/** Reads the address; what it does not know is dropped, so that an old link still shows a comparison. */
export function parseCompareSearch(search: Record<string, unknown>): CompareSearch {
  const { study, x, sort, baseline } = search;
  return withoutNothing({
    runs: listed(search.runs, RUN_ID),
    study: typeof study === "string" && study !== "" && study.length <= MAX_STUDY_LENGTH ? study : undefined,
    x: isXKind(x) && x !== "step" ? x : undefined,
    smooth: weightOf(search.smooth),
    log: isOn(search.log),
    pair: isOn(search.pair),
    metrics: listed(search.metrics, WORD),
    baseline: typeof baseline === "string" && RUN_ID.test(baseline) ? baseline : undefined,
    hidden: listed(search.hidden, RUN_ID),
    equal: isOn(search.equal),
    sort: typeof sort === "string" && WORD.test(sort) ? sort : undefined,
  });
}

/** The words of a list in the address. */
export function wordsOf(list: string | undefined): string[] {
  return list ? list.split(",") : [];
}

/** A list for the address: each word once, in order; undefined without words. */
export function listOf(words: readonly string[]): string | undefined {
  return words.length > 0 ? [...new Set(words)].join(",") : undefined;
}

/** The list with the word if it was without, without it if it was there. */
export function toggled(list: string | undefined, word: string): string | undefined {
  const words = wordsOf(list);
  return listOf(words.includes(word) ? words.filter((other) => other !== word) : [...words, word]);
}

/** The address without a run: out of the list, the hidden ones and the baseline. */
export function withoutRun(search: CompareSearch, id: string): CompareSearch {
  const keep = (list: string | undefined) => listOf(wordsOf(list).filter((word) => word !== id));
  return withoutNothing({
    ...search,
    runs: keep(search.runs),
    hidden: keep(search.hidden),
    baseline: search.baseline === id ? undefined : search.baseline,
  });
}

function listed(value: unknown, pattern: RegExp): string | undefined {
  if (typeof value !== "string") return undefined;
  return listOf(
    value
      .split(",")
      .map((word) => word.trim())
      .filter((word) => pattern.test(word)),
  );
}

function weightOf(value: unknown): number | undefined {
  if (value === undefined || value === "") return undefined;
  const weight = Number(value);
  return Number.isFinite(weight) && weight > 0 ? Math.min(MAX_SMOOTHING, weight) : undefined;
}

function isOn(value: unknown): true | undefined {
  return value === true || value === "true" ? true : undefined;
}

/** Without the keys whose value is undefined, so that equal states are equal objects. */
function withoutNothing(search: CompareSearch): CompareSearch {
  return Object.fromEntries(Object.entries(search).filter(([, value]) => value !== undefined));
}
