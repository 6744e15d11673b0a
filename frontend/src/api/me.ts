import { queryOptions } from "@tanstack/react-query";
import { ApiError, api, unwrap } from "./client";
import { keys } from "./keys";

/** Who is signed in; null without a session, which is an answer and not an error. */
export const meQuery = queryOptions({
  queryKey: keys.me,
  queryFn: async () => {
    try {
      return await unwrap(api.GET("/api/v1/me"));
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return null;
      throw error;
    }
  },
  staleTime: Number.POSITIVE_INFINITY,
});
