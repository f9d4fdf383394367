import { t } from "../i18n/en";
import type { BurnDown } from "./burndown";

const WIDTH = 120;
const HEIGHT = 36;
const PAD = 3;

/** What is left against what would be left if every day did its share. */
export function BurnDownChart({ data }: { data: BurnDown }) {
  const x = (day: number) => PAD + (day / Math.max(1, data.days)) * (WIDTH - 2 * PAD);
  const y = (points: number) => PAD + (1 - points / data.total) * (HEIGHT - 2 * PAD);
  const line = [data.total, ...data.left].map((points, day) => `${x(day)},${y(points)}`).join(" ");
  const last = data.left.at(-1) ?? data.total;
  return (
    <svg width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={t.board.burnDown(last, data.total)} className="shrink-0">
      <title>{t.board.burnDown(last, data.total)}</title>
      <line x1={x(0)} y1={y(data.total)} x2={x(data.days)} y2={y(0)} stroke="var(--c-line-strong)" strokeDasharray="3 3" />
      <polyline points={line} fill="none" stroke="var(--c-accent)" strokeWidth="1.75" strokeLinejoin="round" strokeLinecap="round" />
      <circle cx={x(data.left.length)} cy={y(last)} r="2.5" fill="var(--c-accent)" />
    </svg>
  );
}
