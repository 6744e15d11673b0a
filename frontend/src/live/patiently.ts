import { retryDelay } from "./connection";

/**
 * Loads a part of the page (`() => import(...)`) also while the server is away: waits until it answers and tries again.
 * A part that a server which answers does not have (a newer version is installed) fails as before.
 */
export function patiently<Part>(
  load: () => Promise<Part>,
  answers: () => Promise<boolean> = serverAnswers,
): () => Promise<Part> {
  return async () => {
    try {
      return await load();
    } catch {
      for (let tries = 1; !(await answers()); tries++) {
        await new Promise((wake) => setTimeout(wake, retryDelay(tries)));
      }
      return load();
    }
  };
}

async function serverAnswers(): Promise<boolean> {
  try {
    return (await fetch("/", { method: "HEAD", cache: "no-store" })).ok;
  } catch {
    return false;
  }
}
