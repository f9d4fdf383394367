import { Bar, BarChart, CartesianGrid, ResponsiveContainer, Tooltip, XAxis, YAxis } from "recharts";
import type { UsageRow } from "../api/types";
import { money } from "../format";
import { t } from "../i18n/en";
import { lastDays } from "./days";

/** More bars than this are no chart any more; the table below has all of them. */
const MAX_BARS = 12;
const LABEL_CHARS = 18;

function short(label: string): string {
  return label.length > LABEL_CHARS ? `${label.slice(0, LABEL_CHARS - 1)}…` : label;
}

/** Real and simulated spend side by side, never stacked: a stack would read as a sum. Simulated is hatched. */
export default function UsageChart({ rows, byDay, today }: { rows: UsageRow[]; byDay: boolean; today: Date }) {
  const points = byDay
    ? lastDays(rows, today).map(({ day, real, simulated }) => ({ label: day.slice(5), real, simulated }))
    : rows.toSorted((a, b) => b.cost_micro_usd + b.simulated_micro_usd - a.cost_micro_usd - a.simulated_micro_usd).slice(0, MAX_BARS).map((row) => ({ label: short(row.label), real: row.cost_micro_usd, simulated: row.simulated_micro_usd }));
  const real = points.some((point) => point.real > 0);
  const simulated = points.some((point) => point.simulated > 0);
  return (
    <>
      <div className="mb-2 flex gap-4 text-xs text-soft">
        <span className="flex items-center gap-1.5"><span aria-hidden="true" className="size-2.5 rounded-xs bg-accent-fill" />{t.costs.real}</span>
        {simulated ? <span className="flex items-center gap-1.5"><span aria-hidden="true" className="hatched size-2.5 rounded-xs" />{t.costs.simulated}</span> : null}
      </div>
      <div className="h-56" role="img" aria-label={byDay ? t.costs.chartDays : t.costs.chart}>
        <ResponsiveContainer width="100%" height="100%">
          <BarChart data={points} margin={{ top: 4, right: 0, left: 0, bottom: 0 }} barGap={1} accessibilityLayer={false}>
            <defs>
              <pattern id="simulated" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
                <rect width="5" height="5" fill="var(--c-line)" />
                <rect width="2" height="5" fill="var(--c-faint)" />
              </pattern>
            </defs>
            <CartesianGrid vertical={false} stroke="var(--c-line)" />
            <XAxis dataKey="label" tickLine={false} axisLine={false} tick={{ fill: "var(--c-soft)", fontSize: 11 }} interval="preserveStartEnd" minTickGap={16} />
            <YAxis tickLine={false} axisLine={false} width={56} tick={{ fill: "var(--c-soft)", fontSize: 11 }} tickFormatter={(value: number) => money(value)} />
            <Tooltip cursor={{ fill: "var(--c-hover)" }} contentStyle={{ background: "var(--c-panel)", border: "1px solid var(--c-line-strong)", borderRadius: 8, fontSize: 12 }} labelStyle={{ color: "var(--c-soft)" }} itemStyle={{ color: "var(--c-ink)" }} formatter={(value) => money(Number(value))} />
            {real ? <Bar dataKey="real" name={t.costs.real} fill="var(--c-accent-fill)" radius={[3, 3, 0, 0]} isAnimationActive={false} maxBarSize={28} /> : null}
            {simulated ? <Bar dataKey="simulated" name={t.costs.simulated} fill="url(#simulated)" radius={[3, 3, 0, 0]} isAnimationActive={false} maxBarSize={28} /> : null}
          </BarChart>
        </ResponsiveContainer>
      </div>
    </>
  );
}
