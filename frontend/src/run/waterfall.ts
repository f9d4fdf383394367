import type { Step } from "../api/types";

/** Where each step's bar stands, in per cent of the run's working time. */

export interface Bar {
  step: Step;
  left: number;
  width: number;
}

/** A bar thinner than this cannot be seen or clicked. */
const MIN_WIDTH = 0.8;
/** Waiting for a person is not work: longer gaps are cut to this, so that steps stay visible. */
const MAX_GAP_MS = 30_000;

export function endOf(step: Step, now: number): number {
  if (step.ended_at) return Date.parse(step.ended_at);
  if (step.duration_ms !== null && step.duration_ms !== undefined) return Date.parse(step.started_at) + step.duration_ms;
  return step.status === "started" ? now : Date.parse(step.started_at);
}

export function waterfall(steps: Step[], now: number): { bars: Bar[]; totalMs: number } {
  const spans: { step: Step; start: number; end: number }[] = [];
  let cut = 0;
  let latest: number | null = null;
  for (const step of steps.toSorted((a, b) => Date.parse(a.started_at) - Date.parse(b.started_at))) {
    const start = Date.parse(step.started_at);
    const end = Math.max(start, endOf(step, now));
    if (latest !== null && start - latest > MAX_GAP_MS) cut += start - latest - MAX_GAP_MS;
    latest = Math.max(latest ?? end, end);
    spans.push({ step, start: start - cut, end: end - cut });
  }
  const first = spans[0]?.start ?? 0;
  const totalMs = Math.max(1, ...spans.map((span) => span.end - first));
  const bars = spans.map(({ step, start, end }) => {
    const width = Math.min(100, Math.max(MIN_WIDTH, ((end - start) / totalMs) * 100));
    return { step, width, left: Math.min(100 - width, ((start - first) / totalMs) * 100) };
  });
  return { bars, totalMs };
}
