/** Where a tab's stream stands: the topics it follows and the id of the last event it saw of them. */
export class StreamCursor {
  #topics = "";
  #lastId: string | null = null;
  #sent: string | null = null;

  /** Follows these topics ("runs,run:<id>") from now on; of other topics than before nothing has been seen yet. */
  follow(topics: string): void {
    if (topics === this.#topics) return;
    this.#topics = topics;
    this.#lastId = null;
  }

  /** Notes an event's id; the events of a server that gives none have "". */
  passed(id: string): void {
    if (id !== "") this.#lastId = id;
  }

  /** Where to open the stream now: with the last id, the server sends what came after it. */
  url(): string {
    this.#sent = this.#lastId;
    const query = new URLSearchParams({ topics: this.#topics });
    if (this.#lastId !== null) query.set("last_event_id", this.#lastId);
    return `/api/v1/stream?${query}`;
  }

  /**
   * Whether everything must be fetched: at "resync", and at "hello" unless the server replays all that was missed. A
   * stream that was opened without an id cannot know what the page fetched before it.
   */
  mustFetch(name: string, data: string): boolean {
    if (name === "resync") return true;
    return name === "hello" && (this.#sent === null || !saysReplays(data));
  }
}

function saysReplays(data: string): boolean {
  try {
    return (JSON.parse(data) as { replays?: unknown } | null)?.replays === true;
  } catch {
    return false;
  }
}
