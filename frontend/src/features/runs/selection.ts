/** What is ticked in the list, and where a range would begin. */
export interface Selection {
  ids: ReadonlySet<string>;
  /** The row that was ticked or unticked last. */
  anchor: string | null;
}

export const NOTHING_SELECTED: Selection = { ids: new Set(), anchor: null };

/**
 * Ticks or unticks a row. With `range`, the rows from the anchor to it, both included, become as this one becomes; the
 * anchor may have left the list, then only this row changes. `order` is the list's ids as they are shown.
 */
export function withToggled(selection: Selection, id: string, order: readonly string[], range: boolean): Selection {
  const ids = new Set(selection.ids);
  const select = !ids.has(id);
  for (const row of range ? rowsBetween(order, selection.anchor, id) : [id]) {
    if (select) ids.add(row);
    else ids.delete(row);
  }
  return { ids, anchor: id };
}

/** All rows, or none if all are ticked already. */
export function withAll(selection: Selection, order: readonly string[]): Selection {
  const all = order.every((id) => selection.ids.has(id));
  return all ? NOTHING_SELECTED : { ids: new Set(order), anchor: null };
}

function rowsBetween(order: readonly string[], anchor: string | null, id: string): readonly string[] {
  const [from, to] = [anchor === null ? -1 : order.indexOf(anchor), order.indexOf(id)];
  return from < 0 || to < 0 ? [id] : order.slice(Math.min(from, to), Math.max(from, to) + 1);
}
