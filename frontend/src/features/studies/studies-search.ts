/** The address of the studies: `/studies?q=sweep`. */
export interface StudiesSearch {
  /** Part of a name. */
  q?: string;
}

export function parseStudiesSearch(search: Record<string, unknown>): StudiesSearch {
  const { q } = search;
  return typeof q === "string" && q.trim() !== "" ? { q: q.trim().slice(0, 128) } : {};
}
