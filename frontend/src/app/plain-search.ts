/**
 * Search parameters as plain text, `?runs=a,b&smooth=0.6`, in place of the router's JSON: an address that a person or
 * the command line writes reads the same, and a run id of digits alone stays text. Each route's `validateSearch` gives
 * the words their types.
 */
export function parsePlainSearch(search: string): Record<string, string> {
  return Object.fromEntries(new URLSearchParams(search));
}

/** The other way; what is undefined, null or false is left out. Commas stay readable. */
export function stringifyPlainSearch(search: Record<string, unknown>): string {
  const entries = Object.entries(search)
    .filter(([, value]) => value !== undefined && value !== null && value !== false)
    .map(([name, value]): [string, string] => [name, String(value)]);
  const text = new URLSearchParams(entries).toString().replaceAll("%2C", ",");
  return text === "" ? "" : `?${text}`;
}
