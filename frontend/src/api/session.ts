import type { Session, User } from "./types";

/**
 * Who is signed in. The access token lives in memory only; a reload or an expiry gets a new one
 * by the HttpOnly refresh cookie. Refresh tokens rotate, so two refreshes at once would look like
 * a stolen token: one at a time in this tab (a shared promise) and across tabs (a Web Lock).
 */

export type SessionState =
  | { status: "unknown" }
  | { status: "signed_out" }
  | { status: "signed_in"; token: string; user: User };

type Listener = () => void;

let state: SessionState = { status: "unknown" };
const listeners = new Set<Listener>();
let inFlight: Promise<boolean> | null = null;

const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("syndarix-session");
if (channel) {
  channel.addEventListener("message", (message: MessageEvent<unknown>) => {
    if (message.data === "signed_out") publish({ status: "signed_out" });
  });
}

function publish(next: SessionState): void {
  state = next;
  for (const listener of listeners) listener();
}

export function sessionState(): SessionState {
  return state;
}

export function accessToken(): string | null {
  return state.status === "signed_in" ? state.token : null;
}

export function subscribeSession(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function acceptSession(session: Session): void {
  publish({ status: "signed_in", token: session.access_token, user: session.user });
}

export function dropSession(): void {
  publish({ status: "signed_out" });
}

/** Tells the other tabs too; used by an explicit sign-out. */
export function announceSignOut(): void {
  dropSession();
  channel?.postMessage("signed_out");
}

async function exclusively<T>(work: () => Promise<T>): Promise<T> {
  if (typeof navigator !== "undefined" && navigator.locks) {
    return (await navigator.locks.request("syndarix-refresh", work)) as T;
  }
  return work();
}

/** Every tab waits for the one that refreshes: it may not wait for ever. */
const REFRESH_MS = 15_000;

async function requestRefresh(): Promise<boolean> {
  try {
    const response = await fetch("/api/v1/auth/refresh", {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json" },
      body: "{}",
      signal: AbortSignal.timeout(REFRESH_MS),
    });
    // Only a clear refusal signs out; a server that is restarting, or busy, must not throw people out.
    if (response.status === 401) dropSession();
    if (!response.ok) return false;
    acceptSession((await response.json()) as Session);
    return true;
  } catch {
    return false;
  }
}

/** True when a fresh access token is in memory afterwards. */
export function refreshSession(): Promise<boolean> {
  inFlight ??= exclusively(requestRefresh).finally(() => {
    inFlight = null;
  });
  return inFlight;
}
