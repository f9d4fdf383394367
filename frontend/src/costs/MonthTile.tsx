import type { BudgetNode, MonthOutlook } from "../api/types";
import { money } from "../format";
import { t } from "../i18n/en";
import { BudgetBar, Simulated } from "../ui/entity";
import { Tile } from "./parts";

/** The budget of the month among these, if a hard limit is set on it: no other is of the same period as the month's spend. */
export function monthlyOf(nodes: BudgetNode[] | undefined, scope: "organisation" | "project"): BudgetNode | undefined {
  return nodes?.find((node) => node.scope === scope && node.period === "month" && node.hard_limit_micro_usd !== null && node.hard_limit_micro_usd !== undefined);
}

/** What a month has cost so far, against the budget of the month and of no other period, and where it ends at this pace. */
export function MonthTile({ label, month, monthly, className }: { label: string; month: MonthOutlook; monthly: BudgetNode | undefined; className?: string | undefined }) {
  return (
    <Tile label={label} className={className}>
      <p className="text-lg font-semibold tabular">{money(month.to_date_micro_usd)}</p>
      <div className="mt-2">
        {monthly
          ? <BudgetBar budget={monthly} label={t.costs.monthly} forecastMicroUsd={month.forecast_micro_usd - month.to_date_micro_usd} />
          : <p className="text-xs text-soft">{t.costs.noMonthly}{month.simulated_micro_usd > 0 ? <> · <Simulated microUsd={month.simulated_micro_usd} /></> : null}</p>}
        {month.forecast_micro_usd > 0 ? <p className="mt-0.5 text-xs text-soft" data-forecast>{t.costs.forecast(money(month.forecast_micro_usd))}</p> : null}
      </div>
    </Tile>
  );
}
