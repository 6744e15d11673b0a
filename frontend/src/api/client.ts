import createClient from "openapi-fetch";
import type { paths } from "./schema.gen";
import type { SpecProblem } from "./types";

/** The API, typed by its own OpenAPI document. The session cookie goes along by itself: page and API have one origin. */
export const api = createClient<paths>({ baseUrl: "" });

/** An answer that was not a success: the API's problem document (RFC 9457), or no answer at all (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    /** The fields that are wrong, where the API names them (422). */
    readonly problems: readonly SpecProblem[] = [],
  ) {
    super(`${title}: ${detail}`);
    this.name = "ApiError";
  }
}

interface Answer<Data> {
  data?: Data;
  error?: unknown;
  response: Response;
}

/** The data of an answer; throws `ApiError` with words for a person where there is none. */
export async function unwrap<Data>(request: Promise<Answer<Data>>): Promise<NonNullable<Data>> {
  const answer = await request.catch(() => null);
  if (!answer) throw new ApiError(0, "Basin does not answer", "The API cannot be reached; is `basin up` running?");
  if (answer.response.ok) return answer.data as NonNullable<Data>;
  throw problemOf(answer.error, answer.response);
}

/** Reads a problem document; what is not one (a proxy's page, say) still gives a sentence. */
export function problemOf(body: unknown, response: Response): ApiError {
  const problem = typeof body === "object" && body !== null ? (body as Record<string, unknown>) : {};
  const title = typeof problem.title === "string" ? problem.title : `The API answered ${response.status}`;
  const detail = typeof problem.detail === "string" ? problem.detail : response.statusText || "No reason was given.";
  const problems = Array.isArray(problem.errors) ? (problem.errors as SpecProblem[]) : [];
  return new ApiError(response.status, title, detail, problems);
}

/** Words for whatever a request or a rendering threw. */
export function describeError(error: unknown): { title: string; detail: string } {
  if (error instanceof ApiError) return { title: error.title, detail: error.detail };
  return { title: "This page failed", detail: error instanceof Error ? error.message : String(error) };
}
