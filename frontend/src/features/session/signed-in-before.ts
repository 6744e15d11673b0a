const KEY = "basin-signed-in";

/**
 * Whether this browser has signed in. The session cookie is out of a script's reach, and asking the API without one
 * would put an error into the console of everybody who first comes here.
 */
export function signedInBefore(): boolean {
  return window.localStorage.getItem(KEY) !== null;
}

export function rememberSignIn(isSignedIn: boolean): void {
  if (isSignedIn) window.localStorage.setItem(KEY, "yes");
  else window.localStorage.removeItem(KEY);
}
