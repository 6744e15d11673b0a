/** The list's rows by the links that lead to their runs: the browser's own focus is the cursor. */
const LINKS = "a[data-run]";

/** The run whose row has the focus, or holds the focused checkbox. */
export function focusedRun(): string | null {
  const row = document.activeElement?.closest("tr");
  return row?.querySelector<HTMLElement>(LINKS)?.dataset.run ?? null;
}

/** Moves the focus a row on (1) or back (-1); without one, to the first row. Answers whether there was a row. */
export function focusNeighbour(by: 1 | -1): boolean {
  const links = [...document.querySelectorAll<HTMLElement>(LINKS)];
  const now = links.findIndex((link) => link.dataset.run === focusedRun());
  const next = links[now < 0 ? 0 : Math.min(links.length - 1, Math.max(0, now + by))];
  next?.focus({ preventScroll: true });
  next?.closest("tr")?.scrollIntoView({ block: "nearest" });
  return next !== undefined;
}
