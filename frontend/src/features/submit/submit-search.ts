/** What the address of the submit page says: `/submit?from=<run id>&study=<name>`. */
export interface SubmitSearch {
  /** The run that is copied. */
  from?: string;
  study?: string;
}

/** Reads the address; what it does not know is dropped. */
export function parseSubmitSearch(search: Record<string, unknown>): SubmitSearch {
  const { from, study } = search;
  return {
    ...(typeof from === "string" && /^[a-z0-9]{1,16}$/.test(from) && { from }),
    ...(typeof study === "string" && study.trim() !== "" && { study: study.trim().slice(0, 128) }),
  };
}
