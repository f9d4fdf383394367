import type { UsageRow } from "../api/types";

/** One day of the chart, in micro-USD. */
export interface Day {
  day: string;
  real: number;
  simulated: number;
}

const DAY_MS = 86_400_000;
/** The axis is always this long, whatever was spent on it: two looks can be compared. */
export const SHOWN_DAYS = 30;

/** The last days up to today (UTC, as the server counts), those without a call as well. */
export function lastDays(rows: UsageRow[], today: Date, count = SHOWN_DAYS): Day[] {
  const known = new Map(rows.map((row) => [row.key, row]));
  return Array.from({ length: count }, (_, index) => {
    const day = new Date(today.getTime() - (count - 1 - index) * DAY_MS).toISOString().slice(0, 10);
    const row = known.get(day);
    return { day, real: row?.cost_micro_usd ?? 0, simulated: row?.simulated_micro_usd ?? 0 };
  });
}
