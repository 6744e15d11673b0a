import { queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "./client";
import { keys } from "./keys";

/** As many as a chart has pixels, about; the API keeps each bucket's extremes beyond that. */
const MAX_POINTS = 1_000;

/** A run's metrics by step, column by column; the stream appends to them. */
export function metricsQuery(runId: string, names: readonly string[], maxPoints = MAX_POINTS) {
  return queryOptions({
    queryKey: keys.runColumns(runId, names, maxPoints),
    queryFn: () =>
      unwrap(
        api.GET("/api/v1/runs/{run_id}/metrics", {
          params: { path: { run_id: runId }, query: { names: names.join(","), max_points: maxPoints } },
        }),
      ),
  });
}

/** Every metric's unit and meaning. */
export const catalogueQuery = queryOptions({
  queryKey: keys.catalogue,
  queryFn: () => unwrap(api.GET("/api/v1/metrics/catalogue")),
  staleTime: Number.POSITIVE_INFINITY,
});
