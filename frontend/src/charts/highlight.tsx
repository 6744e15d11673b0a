import { createContext, type ReactNode, useContext, useState, useSyncExternalStore } from "react";

/**
 * Which run a page's reader looks at, wherever the pointer is: a line, a row, a name. Outside React's state, so that a
 * move of the pointer renders only what shows it.
 */
export class Highlight {
  private current: string | null = null;
  private readonly listeners = new Set<() => void>();

  readonly get = (): string | null => this.current;

  readonly set = (runId: string | null): void => {
    if (runId === this.current) return;
    this.current = runId;
    for (const listener of this.listeners) listener();
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
}

const HighlightContext = createContext<Highlight | null>(null);

export function HighlightProvider({ children }: { children: ReactNode }) {
  const [highlight] = useState(() => new Highlight());
  return <HighlightContext value={highlight}>{children}</HighlightContext>;
}

export function useHighlight(): Highlight {
  const highlight = useContext(HighlightContext);
  if (!highlight) throw new Error("useHighlight needs a HighlightProvider above it");
  return highlight;
}

/** The run that is looked at; null: none. */
export function useHighlighted(): string | null {
  const { subscribe, get } = useHighlight();
  return useSyncExternalStore(subscribe, get);
}

/** Whether this run is the one; renders only when that changes. */
export function useIsHighlighted(runId: string): boolean {
  const { subscribe, get } = useHighlight();
  return useSyncExternalStore(subscribe, () => get() === runId);
}

/** Event handlers that make an element speak for a run. */
export function useHighlighter(runId: string) {
  const { set } = useHighlight();
  return {
    onPointerEnter: () => set(runId),
    onPointerLeave: () => set(null),
    onFocus: () => set(runId),
    onBlur: () => set(null),
  };
}
