import { useEffect, useRef } from "react";

/**
 * Single keys that do something on the page, e.g. `{j: next}`; a handler answers whether it did. Keys typed into a field,
 * with a modifier, or while a dialog or menu is open are left alone.
 */
export function useKeys(handlers: Record<string, () => boolean>): void {
  const latest = useRef(handlers);
  latest.current = handlers;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
      const handler = Object.hasOwn(latest.current, event.key) ? latest.current[event.key] : undefined;
      if (!handler || takesText(event.target) || document.querySelector('[role="dialog"], [role="menu"]')) return;
      if (handler()) event.preventDefault();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

function takesText(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return target.type !== "checkbox" && target.type !== "radio";
  return target.isContentEditable || target.matches("textarea, select");
}
