import type { BudgetNode, PutBudget, Run, Story } from "../api/types";
import { compact, money, parseMoney } from "../format";
import { t } from "../i18n/en";
import { BUDGET_ALERT_AT } from "../inbox/alerts";
import { labelOf } from "../ui/status";

/** Budgets on the nodes of the tree: pure functions. */

export const PERIODS = ["total", "day", "week", "month"] as const;
export type Period = (typeof PERIODS)[number];
/** On what a budget of a project is set. */
export const SCOPES = ["project", "sprint", "agent", "run", "key"] as const;
export type Scope = (typeof SCOPES)[number];

/** There is one of these at most. */
export function nodeKey(node: Pick<BudgetNode, "scope" | "scope_id" | "period">): string {
  return `${node.scope} ${node.scope_id} ${node.period}`;
}

export function nodeName(node: Pick<BudgetNode, "scope" | "scope_id" | "name">): string {
  return `${t.budgets.scopes[node.scope] ?? node.scope} ${node.name ?? node.scope_id.slice(-6)}`;
}

/** A run as people know it: by its story, and by who works on it. One whose story is not there is known by its stage. */
export function runName(run: Run, stories: Story[]): string {
  const story = stories.find((one) => one.id === run.story_id);
  const { role, name } = run.agent;
  return t.budgets.runOf(story ? `#${story.number} ${story.title}` : labelOf(run.stage), `${labelOf(role)} ${name}`, labelOf(run.state).toLowerCase());
}

/** Every project has it, and it is edited with the project. */
export function isOfProject(node: BudgetNode): boolean {
  return node.scope === "project" && node.period === "total";
}

export function hasLimit(node: BudgetNode): boolean {
  return [node.hard_limit_micro_usd, node.soft_limit_micro_usd, node.hard_limit_tokens, node.soft_limit_tokens].some((limit) => limit !== null && limit !== undefined);
}

/** A limit that is near or reached, and how far it is used up. */
export interface NodeAlert {
  key: string;
  node: BudgetNode;
  limit: "hard" | "soft";
  unit: "money" | "tokens";
  /** The limit, and what counts against it, in micro-USD or tokens. */
  most: number;
  used: number;
  /** The limit as people read it. */
  amount: string;
  fraction: number;
}

/** What budgets have to say now, as the server counts: the hard limits with what is reserved; what stops calls first. `from` is the share that is told of. */
export function nodeAlerts(nodes: BudgetNode[], from = BUDGET_ALERT_AT): NodeAlert[] {
  const alerts: NodeAlert[] = [];
  for (const node of nodes) {
    const look = (limit: "hard" | "soft", unit: "money" | "tokens", most: number | null | undefined, used: number, amount: (value: number) => string) => {
      if (most === null || most === undefined) return;
      const fraction = most === 0 ? 1 : used / most;
      if (fraction >= from) alerts.push({ key: `${nodeKey(node)} ${limit} ${unit}`, node, limit, unit, most, used, amount: amount(most), fraction });
    };
    const spent = node.spent_micro_usd + node.simulated_micro_usd;
    look("hard", "money", node.hard_limit_micro_usd, spent + node.reserved_micro_usd, money);
    look("hard", "tokens", node.hard_limit_tokens, node.spent_tokens + node.reserved_tokens, t.budgets.tokensOf);
    look("soft", "money", node.soft_limit_micro_usd, spent, money);
    look("soft", "tokens", node.soft_limit_tokens, node.spent_tokens, t.budgets.tokensOf);
  }
  const order = (alert: NodeAlert) => (alert.limit === "hard" ? 0 : 1);
  return alerts.toSorted((a, b) => order(a) - order(b) || b.fraction - a.fraction);
}

/** A form as it is typed. */
export interface BudgetForm {
  scope: Scope;
  /** Which sprint, agent, run or key; of the project itself nothing. */
  target: string;
  period: Period;
  hard: string;
  soft: string;
  hardTokens: string;
  softTokens: string;
}

export const EMPTY_BUDGET: BudgetForm = { scope: "project", target: "", period: "month", hard: "", soft: "", hardTokens: "", softTokens: "" };

const MICROS = 1_000_000;
/** The server refuses more. */
export const MOST = 1_000_000_000_000_000;

export function formOfNode(node: BudgetNode): BudgetForm {
  const text = (value: number | null | undefined, unit = 1) => (value === null || value === undefined ? "" : String(value / unit));
  return {
    scope: SCOPES.find((scope) => scope === node.scope) ?? "project",
    target: node.scope_id,
    period: PERIODS.find((period) => period === node.period) ?? "total",
    hard: text(node.hard_limit_micro_usd, MICROS),
    soft: text(node.soft_limit_micro_usd, MICROS),
    hardTokens: text(node.hard_limit_tokens),
    softTokens: text(node.soft_limit_tokens),
  };
}

export type BudgetErrors = Partial<Record<"target" | "hard" | "soft" | "hardTokens" | "softTokens", string>>;

/** What the form asks the server for, or what is wrong with it. */
export function limitsOf(form: BudgetForm): { limits: PutBudget } | { errors: BudgetErrors } {
  const errors: BudgetErrors = {};
  const dollars = (field: "hard" | "soft") => {
    const text = form[field].trim();
    const value = text ? parseMoney(text) : null;
    if (text && value === null) errors[field] = t.errors.amount;
    return value;
  };
  const tokens = (field: "hardTokens" | "softTokens") => {
    const text = form[field].replaceAll(/[\s,_]/g, "");
    const value = Number(text);
    if (text && !(/^\d+$/.test(text) && value <= MOST)) errors[field] = t.budgets.wholeTokens;
    return text ? value : null;
  };
  const limits = { hard_limit_micro_usd: dollars("hard"), soft_limit_micro_usd: dollars("soft"), hard_limit_tokens: tokens("hardTokens"), soft_limit_tokens: tokens("softTokens") };
  if (form.scope !== "project" && !form.target) errors.target = t.errors.required;
  if (Object.keys(errors).length === 0 && Object.values(limits).every((limit) => limit === null)) errors.hard = t.budgets.oneLimit;
  return Object.keys(errors).length > 0 ? { errors } : { limits };
}

/** "1.2M of 2M tokens": what counts against a limit in tokens. */
export function tokensUsed(node: BudgetNode, limit: number): { text: string; fraction: number } {
  const used = node.spent_tokens + node.reserved_tokens;
  return { text: t.budgets.tokensUsed(compact(used), compact(limit)), fraction: limit === 0 ? 1 : used / limit };
}
