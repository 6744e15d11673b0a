import type { Draft } from "./draft";

/** Sign-out clears what begins so (`features/session`). */
const PREFIX = "basin-draft:";

interface Stored {
  draft: Draft;
  /** The last try to submit: the same body must carry the same key, so that it makes one run. */
  sent?: Sent;
}

interface Sent {
  body: string;
  key: string;
}

type Store = Pick<Storage, "getItem" | "setItem" | "removeItem">;

/** A draft that outlives a reload of its tab: of one person, for a new run or for a copy of one run. */
export class DraftStorage {
  readonly #key: string;

  constructor(
    user: string,
    copiedFrom: string | null,
    readonly store: Store = window.sessionStorage,
  ) {
    this.#key = `${PREFIX}${user}:${copiedFrom ?? "new"}`;
  }

  load(): Draft | null {
    return this.#read()?.draft ?? null;
  }

  save(draft: Draft): void {
    this.#write({ ...this.#read(), draft });
  }

  forget(): void {
    this.store.removeItem(this.#key);
  }

  /** The Idempotency-Key for a body: the one it was sent with before, even before a reload, else a new one. */
  keyFor(body: string, draft: Draft): string {
    const { sent } = this.#read() ?? {};
    if (sent?.body === body) return sent.key;
    const key = randomKey();
    this.#write({ draft, sent: { body, key } });
    return key;
  }

  #read(): Stored | null {
    try {
      const stored = JSON.parse(this.store.getItem(this.#key) ?? "null") as Stored | null;
      return typeof stored?.draft?.text === "string" ? stored : null;
    } catch {
      return null;
    }
  }

  #write(stored: Stored): void {
    try {
      this.store.setItem(this.#key, JSON.stringify(stored));
    } catch {
      // No room or no storage: the draft then lives only as long as the page.
    }
  }
}

/** `crypto.randomUUID` is missing on pages served without TLS from another host. */
function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
