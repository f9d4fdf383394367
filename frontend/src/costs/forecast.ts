import type { UsageRow } from "../api/types";

/** Month to date, and where the month ends if it goes on like this. Real spend only. */
export function forecast(days: UsageRow[], today: Date): { monthToDate: number; endOfMonth: number } | null {
  const month = today.toISOString().slice(0, 7);
  const spent = days.filter((row) => row.key.startsWith(month)).reduce((sum, row) => sum + row.cost_micro_usd, 0);
  const passed = today.getUTCDate();
  const length = new Date(Date.UTC(today.getUTCFullYear(), today.getUTCMonth() + 1, 0)).getUTCDate();
  return spent > 0 ? { monthToDate: spent, endOfMonth: Math.round((spent / passed) * length) } : null;
}
