import { clsx } from "clsx";
import { Bot, Cog, User } from "lucide-react";
import type { Actor, Budget } from "../api/types";
import { money, percent } from "../format";
import { t } from "../i18n/en";

/** Small pieces that show the same thing the same way on every page: who, and how much. */

export function ActorIcon({ type, size = 14 }: { type: string | undefined; size?: number }) {
  const Icon = type === "agent" ? Bot : type === "user" || type === "human" ? User : Cog;
  return <Icon size={size} aria-hidden="true" className="shrink-0 text-faint" />;
}

export function ActorName({ actor, className }: { actor: Actor; className?: string }) {
  return (
    <span className={clsx("inline-flex min-w-0 items-center gap-1", className)}>
      <ActorIcon type={actor.type} />
      <span className="truncate">{actor.name ?? t.actor.kind(actor.type)}</span>
    </span>
  );
}

/** Real spend first; simulated spend beside it, marked, never summed. */
export function Cost({ real, simulated, className }: { real: number; simulated: number; className?: string }) {
  return (
    <span className={clsx("inline-flex flex-wrap items-center gap-x-1.5 tabular", className)}>
      <span>{money(real)}</span>
      {simulated > 0 ? <Simulated microUsd={simulated} /> : null}
    </span>
  );
}

export function Simulated({ microUsd }: { microUsd: number }) {
  return (
    <span title={t.cost.simulatedHelp} className="whitespace-nowrap rounded border border-dashed border-line-strong px-1 text-[11.5px] leading-4 text-soft tabular">
      {t.cost.simulated(money(microUsd))}
    </span>
  );
}

const ALERT_AT = 0.8;

export function budgetTone(fraction: number): "ok" | "warn" | "bad" {
  return fraction >= 1 ? "bad" : fraction >= ALERT_AT ? "warn" : "ok";
}

export function budgetFraction(budget: Budget | null | undefined): number | null {
  const limit = budget?.hard_limit_micro_usd;
  if (!budget || limit === null || limit === undefined) return null;
  if (limit === 0) return 1;
  return (budget.spent_micro_usd + budget.reserved_micro_usd) / limit;
}

export function BudgetBar({ budget, label }: { budget: Budget | null | undefined; label: string }) {
  const fraction = budgetFraction(budget);
  if (!budget || fraction === null) return <p className="text-faint">{t.cost.noLimit}</p>;
  return (
    <div>
      <progress className="bar" max={1} value={Math.min(1, fraction)} data-tone={budgetTone(fraction)} aria-label={label}>
        {percent(fraction)}
      </progress>
      <p className="mt-1 text-soft tabular">
        {t.cost.ofBudget(money(budget.spent_micro_usd), money(budget.hard_limit_micro_usd ?? 0), percent(fraction))}
        {budget.reserved_micro_usd > 0 ? ` · ${t.cost.reserved(money(budget.reserved_micro_usd))}` : ""}
      </p>
    </div>
  );
}

export function Confidence({ value, threshold }: { value: number; threshold?: number | undefined }) {
  const low = threshold !== undefined && value < threshold;
  return (
    <span className={clsx("tabular", low && "font-medium text-warn")} title={low ? t.approval.belowThreshold(percent(threshold)) : undefined}>
      {t.approval.confidence(percent(value))}
    </span>
  );
}

export function Json({ value, label }: { value: unknown; label: string }) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard
    <pre tabIndex={0} role="region" aria-label={label} className="max-h-96 overflow-auto rounded-md border border-line bg-canvas p-2.5 font-mono text-[12px] leading-[18px] whitespace-pre-wrap break-words">
      {text}
    </pre>
  );
}
