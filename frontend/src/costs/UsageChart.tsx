import { Bar, BarChart, CartesianGrid, Legend, ResponsiveContainer, Tooltip, XAxis, YAxis } from "recharts";
import type { UsageRow } from "../api/types";
import { money } from "../format";
import { t } from "../i18n/en";

const MICROS = 1_000_000;
const MAX_BARS = 31;

/** Real and simulated spend side by side, never stacked: a stack would read as a sum. */
export default function UsageChart({ rows, byDay }: { rows: UsageRow[]; byDay: boolean }) {
  const sorted = byDay ? rows.toSorted((a, b) => a.key.localeCompare(b.key)) : rows.toSorted((a, b) => b.cost_micro_usd - a.cost_micro_usd);
  const points = sorted.slice(0, MAX_BARS).map((row) => ({ label: byDay ? row.label.slice(5) : row.label, real: row.cost_micro_usd / MICROS, simulated: row.simulated_micro_usd / MICROS }));
  return (
    <div className="h-56" role="img" aria-label={t.costs.chart}>
      <ResponsiveContainer width="100%" height="100%">
        <BarChart data={points} margin={{ top: 8, right: 8, left: 8, bottom: 0 }} accessibilityLayer={false}>
          <CartesianGrid vertical={false} stroke="var(--c-line)" />
          <XAxis dataKey="label" tickLine={false} axisLine={false} tick={{ fill: "var(--c-soft)", fontSize: 11 }} interval="preserveStartEnd" />
          <YAxis tickLine={false} axisLine={false} width={52} tick={{ fill: "var(--c-soft)", fontSize: 11 }} tickFormatter={(value: number) => money(value * MICROS)} />
          <Tooltip cursor={{ fill: "var(--c-hover)" }} contentStyle={{ background: "var(--c-panel)", border: "1px solid var(--c-line-strong)", borderRadius: 8, fontSize: 12 }} formatter={(value) => money(Number(value) * MICROS)} />
          <Legend wrapperStyle={{ fontSize: 12 }} formatter={(name: string) => <span className="text-soft">{name}</span>} />
          <Bar dataKey="real" name={t.costs.real} fill="var(--c-accent-fill)" radius={[3, 3, 0, 0]} isAnimationActive={false} maxBarSize={28} />
          <Bar dataKey="simulated" name={t.costs.simulated} fill="var(--c-line-strong)" radius={[3, 3, 0, 0]} isAnimationActive={false} maxBarSize={28} />
        </BarChart>
      </ResponsiveContainer>
    </div>
  );
}
