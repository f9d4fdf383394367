import type { Budget, OrganisationUsage, Project } from "../api/types";
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

/** What a project has spent this month, real and simulated apart; null where whoever looks is not told. */
export type Month = { real: number; simulated: number } | null;

/** This month by project, as an organisation's managers are told. `told` holds what each organisation has said so far. */
export function months(projects: Project[], told: ReadonlyMap<string, OrganisationUsage>): ReadonlyMap<string, Month> {
  const listed = new Map([...told.values()].flatMap((usage) => usage.projects).map((one) => [one.project_id, { real: one.to_date_micro_usd, simulated: one.simulated_micro_usd }]));
  return new Map(projects.map((project): [string, Month] => {
    // In a list that has all of them, who is not in it has spent nothing.
    const whole = told.get(project.organisation_id)?.projects_left_out === 0;
    return [project.id, listed.get(project.id) ?? (whole ? { real: 0, simulated: 0 } : null)];
  }));
}

/** The dearest of this month first; those that are alike, and those that nothing is known of, stay as they were. */
export function byMonth(projects: Project[], known: ReadonlyMap<string, Month>): Project[] {
  const size = (project: Project) => {
    const month = known.get(project.id);
    return month ? month.real + month.simulated : 0;
  };
  return projects.toSorted((a, b) => size(b) - size(a));
}
