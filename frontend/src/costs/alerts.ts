import type { Budget, Project } from "../api/types";
import { BUDGET_ALERT_AT } from "../inbox/alerts";
import { budgetFraction } from "../ui/entity";

/** A limit that is near or reached, and how far it is used up. */
export interface BudgetAlert {
  limit: "hard" | "soft";
  limitMicroUsd: number;
  fraction: number;
}

/** What a budget has to say now, as the server counts: the soft limit without what is only reserved. */
export function budgetAlerts(budget: Budget | null | undefined): BudgetAlert[] {
  if (!budget) return [];
  const alerts: BudgetAlert[] = [];
  const { hard_limit_micro_usd: hard, soft_limit_micro_usd: soft } = budget;
  const fraction = budgetFraction(budget);
  if (fraction !== null && hard !== null && hard !== undefined && fraction >= BUDGET_ALERT_AT) alerts.push({ limit: "hard", limitMicroUsd: hard, fraction });
  if (soft) {
    const used = (budget.spent_micro_usd + budget.simulated_micro_usd) / soft;
    if (used >= BUDGET_ALERT_AT) alerts.push({ limit: "soft", limitMicroUsd: soft, fraction: used });
  }
  return alerts;
}

/** All projects together, real and simulated apart; the dearest first. */
export function overall(projects: Project[]): { real: number; simulated: number; rows: Project[] } {
  const sum = (field: "spent_micro_usd" | "simulated_micro_usd") => projects.reduce((total, project) => total + project[field], 0);
  const size = (project: Project) => project.spent_micro_usd + project.simulated_micro_usd;
  return { real: sum("spent_micro_usd"), simulated: sum("simulated_micro_usd"), rows: projects.toSorted((a, b) => size(b) - size(a) || a.name.localeCompare(b.name)) };
}
