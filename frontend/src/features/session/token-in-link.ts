const PREFIX = "#token=";

/**
 * Takes the token out of the link that `basin up` prints (`/#token=...`) and cleans the address at once, so that the
 * token stays neither in the history nor in a copied link. The part after # is never sent to a server.
 */
export function takeTokenFromLink(
  location: Pick<Location, "hash" | "pathname" | "search">,
  history: Pick<History, "replaceState">,
): string | null {
  const { hash } = location;
  if (!hash.startsWith(PREFIX)) return null;
  history.replaceState(null, "", location.pathname + location.search);
  const token = decodeURIComponent(hash.slice(PREFIX.length)).trim();
  return token === "" ? null : token;
}
