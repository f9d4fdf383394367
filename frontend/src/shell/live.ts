import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { request } from "../api/client";
import { LiveCache, envelopeOf } from "../api/live";
import { followStream, type Place, type StreamHandlers } from "../api/sse";

/**
 * One stream for all projects of the user, as long as someone is signed in and looks at the tab. A browser gives one
 * host six connections (HTTP/1.1): a stream in every forgotten tab would freeze the one in use.
 */

export type LiveStatus = "connecting" | "open" | "waiting";

let status: LiveStatus = "connecting";
const listeners = new Set<() => void>();

function setStatus(next: LiveStatus): void {
  if (next === status) return;
  status = next;
  for (const listener of listeners) listener();
}

export function useLiveStatus(): LiveStatus {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => status,
  );
}

async function open(lastEventId: string | null, signal: AbortSignal): Promise<Response> {
  return request("/events/stream", {
    signal,
    stream: true,
    headers: { Accept: "text/event-stream", ...(lastEventId ? { "Last-Event-ID": lastEventId } : {}) },
  });
}

/** Follows while the page is visible; a page that comes back goes on where it left off. */
export function followWhileVisible(handlers: (signal: AbortSignal) => StreamHandlers): () => void {
  const place: Place = { id: null };
  let current: AbortController | null = null;
  const look = () => {
    if (document.visibilityState === "hidden") {
      current?.abort();
      current = null;
    } else if (!current) {
      current = new AbortController();
      void followStream(handlers(current.signal), current.signal, place);
    }
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    document.removeEventListener("visibilitychange", look);
    current?.abort();
  };
}

export function useLiveStream(): void {
  const client = useQueryClient();
  useEffect(() => {
    const cache = new LiveCache(client);
    return followWhileVisible((signal) => ({
      open: (lastEventId) => open(lastEventId, signal),
      onStatus: setStatus,
      onReset: () => cache.reset(),
      onMessage: (message) => {
        // A message that is not ours (a probe of a proxy) changes nothing.
        const event = envelopeOf(message);
        if (event) cache.accept(event);
      },
    }));
  }, [client]);
}
