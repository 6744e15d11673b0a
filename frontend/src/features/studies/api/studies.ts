import { queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "@/api/client";
import { keys } from "@/api/keys";

/** Counts change with every run; the list of studies is looked at, not watched. */
const POLL_MS = 10_000;

/** Studies whose name contains `q`, the one with the newest run first. */
export function studiesQuery(q: string | undefined) {
  return queryOptions({
    queryKey: keys.studies(q ?? ""),
    queryFn: () => unwrap(api.GET("/api/v1/studies", { params: { query: { q } } })),
    staleTime: 0,
    refetchInterval: POLL_MS,
  });
}
