import { queryOptions } from "@tanstack/react-query";
import { api, unwrap } from "@/api/client";
import { WELL_KNOWN_MODELS } from "../template";

/** Names of the studies that there are, the newest first: suggestions, so an old answer does no harm. */
export const studyNamesQuery = queryOptions({
  queryKey: ["studies", "names"],
  queryFn: async () => (await unwrap(api.GET("/api/v1/studies"))).items.map(({ name }) => name),
});

/** Every model of timm's registry, the well-known first. Comes in a file of its own, when a person asks for it. */
export const modelNamesQuery = queryOptions({
  queryKey: ["model-names"],
  queryFn: async () => {
    const { default: names } = await import("virtual:model-names");
    return [...new Set([...WELL_KNOWN_MODELS, ...names])];
  },
  staleTime: Number.POSITIVE_INFINITY,
});
