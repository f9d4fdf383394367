import { useSyncExternalStore } from "react";

/** A phone's width: one column, one kind of diff, and what is not needed at once is folded. */
const QUERY = "(max-width: 767px)";

function subscribe(listener: () => void): () => void {
  const query = window.matchMedia(QUERY);
  query.addEventListener("change", listener);
  return () => query.removeEventListener("change", listener);
}

export function useNarrow(): boolean {
  return useSyncExternalStore(subscribe, () => window.matchMedia(QUERY).matches);
}
