import { useEffect, useState } from "react";

/** A tab hidden for so long gives its stream back: a browser allows six connections to a host, over all tabs. */
const DOZE_AFTER_MS = 60_000;

/** False once the tab has been hidden for a minute, true again as soon as it is looked at. */
export function useTabIsAwake(): boolean {
  const [awake, setAwake] = useState(true);
  useEffect(() => {
    let timer: number | undefined;
    const look = () => {
      window.clearTimeout(timer);
      if (document.visibilityState === "visible") setAwake(true);
      else timer = window.setTimeout(() => setAwake(false), DOZE_AFTER_MS);
    };
    document.addEventListener("visibilitychange", look);
    return () => {
      window.clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, []);
  return awake;
}
