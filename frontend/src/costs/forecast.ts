import type { UsageRow } from "../api/types";

export interface Outlook {
  /** Real money spent in this month. */
  monthToDate: number;
  /** Simulated spend of this month, for itself. */
  simulated: number;
  /** Where the month's real spend ends if it goes on like this. */
  endOfMonth: number;
}

/** The month as it stands and as it goes on; by UTC days, as the server counts. */
export function forecast(days: UsageRow[], today: Date): Outlook {
  const month = today.toISOString().slice(0, 7);
  const mine = days.filter((row) => row.key.startsWith(month));
  const monthToDate = mine.reduce((sum, row) => sum + row.cost_micro_usd, 0);
  const simulated = mine.reduce((sum, row) => sum + row.simulated_micro_usd, 0);
  const length = new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() + 1, 0)).getUTCDate();
  return { monthToDate, simulated, endOfMonth: Math.round((monthToDate / today.getUTCDate()) * length) };
}
