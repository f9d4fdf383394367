import type { BudgetNode, PutBudget, Run } from "../api/types";
import { money, parseMoney } from "../format";
import { t } from "../i18n/en";
import { BUDGET_ALERT_AT } from "../inbox/alerts";
import { MOST, nodeAlerts, type NodeAlert } from "./budgets";

/** Which hard limits hold a run up, and what they are raised to: pure functions. */

/** What the server said when it refused a call. */
export interface Refusal {
  scope: string;
  period: string;
  unit: NodeAlert["unit"];
  /** So much would be used with this call; 0 of an organisation's, whose amounts the sentence leaves out. */
  needs: number;
}

const SENTENCE = /^the (\w+)'s hard budget(?: of (?:\$[\d.]+|(?:\d+ )?(tokens)))?(?: for (today|this week|this month))? would be passed: (?:(\S+) (?:spent|used), (\S+) reserved, this call may (?:cost|use) (\S+)|an owner or admin of the organisation can raise it)$/;
const PERIOD: Record<string, string> = { today: "day", "this week": "week", "this month": "month" };

/** The budget of a wait, from the server's sentence; null where it says something else. */
export function refusalOf(detail: string): Refusal | null {
  const match = SENTENCE.exec(detail);
  if (!match) return null;
  const [, scope = "", tokens, period = "", ...amounts] = match;
  const unit = tokens === undefined ? "money" : "tokens";
  const needs = amounts.filter(Boolean).reduce((sum, text) => sum + ((unit === "money" ? parseMoney(text) : Number(text)) || 0), 0);
  return { scope, period: PERIOD[period] ?? "total", unit, needs };
}

/** What a run's calls count against. The sprint is its story's. */
export interface Place {
  projectId: string;
  run: Pick<Run, "id" | "agent">;
  sprintId: string | null;
}

function isAbove({ scope, scope_id: id }: BudgetNode, { projectId, run, sprintId }: Place): boolean {
  const mine: Record<string, string | null> = { organisation: id, project: projectId, sprint: sprintId, agent: run.agent.id, run: run.id };
  return mine[scope] === id;
}

export function refuses({ limit, node, unit }: NodeAlert, refusal: Refusal | null): boolean {
  return refusal !== null && limit === "hard" && node.scope === refusal.scope && node.period === refusal.period && unit === refusal.unit;
}

/** The hard limits above a run that refuse its call or are near, the refusing one first: a small one is passed by one call, whatever is used of it. */
export function limitsAbove(nodes: BudgetNode[], place: Place, refusal: Refusal | null): NodeAlert[] {
  const hard = nodeAlerts(nodes.filter((node) => isAbove(node, place)), 0).filter((alert) => alert.limit === "hard");
  return hard
    .filter((alert) => alert.fraction >= BUDGET_ALERT_AT || refuses(alert, refusal))
    .toSorted((a, b) => Number(refuses(b, refusal)) - Number(refuses(a, refusal)));
}

/** Amounts are said to the cent. */
const STEP = { money: 10_000, tokens: 1 };
/** Half of next to nothing lets no call through. */
const LEAST = { money: 1_000_000, tokens: 100_000 };

/** The limit that is offered: half as much again, or more where that is not enough for what is used and needed. Null at the highest limit there is. */
export function raised({ unit, most, used }: NodeAlert, needs = 0): { to: number; amount: string; byHalf: boolean } | null {
  const byHalf = (amount: number) => Math.ceil((amount * 1.5) / STEP[unit]) * STEP[unit];
  const enough = Math.max(used, needs);
  const wanted = byHalf(most) > enough ? byHalf(most) : Math.max(byHalf(enough), LEAST[unit]);
  const to = Math.min(MOST, wanted);
  if (to <= most) return null;
  return { to, amount: unit === "money" ? money(to) : t.budgets.tokensOf(to), byHalf: to === byHalf(most) };
}

/** All limits of the budget, one of them raised: what is left out of a PUT is a limit taken away. */
export function limitsWith({ node, unit }: NodeAlert, to: number): PutBudget {
  const { hard_limit_micro_usd: hard = null, soft_limit_micro_usd: soft = null, hard_limit_tokens: hardTokens = null, soft_limit_tokens: softTokens = null } = node;
  return { hard_limit_micro_usd: unit === "money" ? to : hard, soft_limit_micro_usd: soft, hard_limit_tokens: unit === "tokens" ? to : hardTokens, soft_limit_tokens: softTokens };
}
