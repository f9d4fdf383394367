import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { request } from "../api/client";
import { LiveCache, envelopeOf } from "../api/live";
import { followStream } from "../api/sse";

/** One stream per tab, for all projects of the user, as long as someone is signed in. */

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

export function useLiveStream(): void {
  const client = useQueryClient();
  useEffect(() => {
    const stop = new AbortController();
    const cache = new LiveCache(client);
    void followStream(
      {
        open: (lastEventId) => open(lastEventId, stop.signal),
        onStatus: setStatus,
        onReset: () => cache.reset(),
        onMessage: (message) => {
          // A message that is not ours (a probe of a proxy) changes nothing.
          const event = envelopeOf(message);
          if (event) cache.accept(event);
        },
      },
      stop.signal,
    );
    return () => stop.abort();
  }, [client]);
}
