import { useEffect, useState, useSyncExternalStore } from "react";
import { age, dateTime, left } from "../format";
import { t } from "../i18n/en";

/** One clock for all relative times: they tick together, and only twice a minute. */

const TICK_MS = 30_000;
let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | null = null;

function subscribe(listener: () => void): () => void {
  // Only the first one sets the clock: a later one would make all the others render again.
  if (listeners.size === 0) now = Date.now();
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const notify of listeners) notify();
  }, TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0 && timer) {
      clearInterval(timer);
      timer = null;
    }
  };
}

export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

/** The same clock; while something is going on on screen it ticks every second. */
export function useClock(live: boolean): number {
  const coarse = useNow();
  const [fine, setFine] = useState(() => Date.now());
  useEffect(() => {
    if (!live) return undefined;
    const tick = () => setFine(Date.now());
    const ticking = setInterval(tick, 1_000);
    return () => clearInterval(ticking);
  }, [live]);
  return live ? Math.max(fine, coarse) : coarse;
}

export function Ago({ at, className, short }: { at: string; className?: string; short?: boolean }) {
  const current = useNow();
  return (
    <time dateTime={at} title={dateTime(at)} className={className}>
      {short ? age(at, Math.max(current, Date.parse(at))) : t.time.ago(age(at, Math.max(current, Date.parse(at))))}
    </time>
  );
}

export function Deadline({ at }: { at: string }) {
  const current = useNow();
  const rest = left(at, current);
  return (
    <time dateTime={at} title={dateTime(at)} className={rest ? "" : "font-medium text-bad"}>
      {rest ? t.time.left(rest) : t.time.overdue(age(at, current))}
    </time>
  );
}
