import { clsx } from "clsx";
import { Bot, Cog, User } from "lucide-react";
import type { ReactNode } from "react";
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

/** One sum of money as one number: real spend; or simulated spend, said to be so, where there is only that. Never a sum of both. */
export function Cost({ real, simulated, className, short }: { real: number; simulated: number; className?: string | undefined; short?: boolean }) {
  if (real === 0 && simulated > 0) return <Simulated microUsd={simulated} className={className} short={short} />;
  return (
    <span className={clsx("whitespace-nowrap tabular", className)} title={simulated > 0 ? t.cost.beside(money(simulated)) : undefined}>
      {money(real)}
    </span>
  );
}

/** `short` leaves the word to the sign and its title, where there is no room. */
export function Simulated({ microUsd, className, short }: { microUsd: number; className?: string | undefined; short?: boolean | undefined }) {
  return (
    <span title={t.cost.simulatedHelp} className={clsx("whitespace-nowrap text-soft tabular", className)}>
      ≈ {short ? <>{money(microUsd)}<span className="sr-only"> {t.cost.allSimulated}</span></> : t.cost.simulated(money(microUsd))}
    </span>
  );
}

const ALERT_AT = 0.8;

export function budgetTone(fraction: number): "ok" | "warn" | "bad" {
  return fraction >= 1 ? "bad" : fraction >= ALERT_AT ? "warn" : "ok";
}

/** The share of the limit that is used up: real, simulated and reserved, as the server counts it. */
export function budgetFraction(budget: Budget | null | undefined): number | null {
  const limit = budget?.hard_limit_micro_usd;
  if (!budget || limit === null || limit === undefined) return null;
  if (limit === 0) return 1;
  return (budget.spent_micro_usd + budget.simulated_micro_usd + budget.reserved_micro_usd) / limit;
}

const SEGMENT = { ok: "bg-ok-fill", warn: "bg-(--c-warn-fill)", bad: "bg-bad-fill" } as const;

/** A bar that ends at the hard limit, with a mark at the soft one, where that comes first. */
function Bar({ label, fraction, soft, children }: { label: string; fraction: number; soft: number | undefined; children: ReactNode }) {
  return (
    <div className="relative">
      <div role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.min(100, Math.round(fraction * 100))} className="flex h-1.5 overflow-hidden rounded-full bg-line">{children}</div>
      {soft !== undefined && soft < 1 ? <span aria-hidden="true" data-soft-mark className="absolute -top-0.5 h-2.5 w-0.5 bg-ink" style={{ left: `${soft * 100}%` }} /> : null}
    </div>
  );
}

/** Real spend is solid, reserved money pale, and simulated spend hatched: all count against the limit, none is mixed. */
export function BudgetBar({ budget, label, forecastMicroUsd = 0 }: { budget: Budget | null | undefined; label: string; forecastMicroUsd?: number }) {
  const fraction = budgetFraction(budget);
  const limit = budget?.hard_limit_micro_usd;
  if (!budget || fraction === null || limit === null || limit === undefined) return <p className="text-faint">{t.cost.noLimit}</p>;
  const width = (part: number) => ({ width: `${limit === 0 ? 0 : Math.min(100, (part / limit) * 100)}%` });
  return (
    <div>
      <Bar label={label} fraction={fraction} soft={limit > 0 && budget.soft_limit_micro_usd ? budget.soft_limit_micro_usd / limit : undefined}>
        <span className={SEGMENT[budgetTone(fraction)]} style={width(budget.spent_micro_usd)} />
        <span className={clsx(SEGMENT[budgetTone(fraction)], "opacity-50")} style={width(budget.reserved_micro_usd)} data-reserved={budget.reserved_micro_usd > 0 || undefined} />
        <span className="hatched" style={width(budget.simulated_micro_usd)} />
        {/* What is going to be spent, not what is. */}
        <span className="bg-accent/25" style={width(forecastMicroUsd)} />
      </Bar>
      <p className="mt-1.5 text-xs text-soft tabular">
        <span className="font-medium text-ink">{budget.spent_micro_usd === 0 && budget.simulated_micro_usd > 0 ? `≈ ${money(budget.simulated_micro_usd)}` : money(budget.spent_micro_usd)}</span> {t.cost.ofLimit(money(limit), percent(fraction))}
        {budget.simulated_micro_usd > 0 ? <span title={t.cost.simulatedHelp}>, {budget.spent_micro_usd === 0 ? t.cost.allSimulated : t.cost.simulated(money(budget.simulated_micro_usd))}</span> : null}
        {budget.reserved_micro_usd > 0 ? `, ${t.cost.reserved(money(budget.reserved_micro_usd))}` : null}
      </p>
    </div>
  );
}

/** How much of a limit is used up, where the limit is no money. `reserved` is a part of what is used. */
export function UsedBar({ fraction, label, text, reserved = 0, soft }: { fraction: number; label: string; text: string; reserved?: number; soft?: number | undefined }) {
  const width = (part: number) => ({ width: `${Math.max(0, Math.min(100, part * 100))}%` });
  return (
    <div>
      <Bar label={label} fraction={fraction} soft={soft}>
        <span className={SEGMENT[budgetTone(fraction)]} style={width(fraction - reserved)} />
        <span className={clsx(SEGMENT[budgetTone(fraction)], "opacity-50")} style={width(reserved)} data-reserved={reserved > 0 || undefined} />
      </Bar>
      <p className="mt-1.5 text-xs text-soft tabular">{text}</p>
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
    <pre tabIndex={0} role="region" aria-label={label} className="max-h-96 overflow-auto rounded-md border border-line bg-canvas p-2.5 font-mono text-xs leading-[18px] whitespace-pre-wrap break-words">
      {text}
    </pre>
  );
}
