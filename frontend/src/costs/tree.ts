import type { BudgetNode } from "../api/types";
import { PERIODS } from "./budgets";

/** The tree that budgets stand in: pure functions. */

export interface TreeNode {
  key: string;
  scope: string;
  id: string;
  name: string | null;
  /** Its own, the longest period first; none where only what is below has one. */
  budgets: BudgetNode[];
  children: TreeNode[];
}

/** What stands beside each other, from the top. */
const SCOPES = ["organisation", "project", "sprint", "agent", "run", "key"];
const LONGEST_FIRST = ["total", "month", "week", "day"] satisfies (typeof PERIODS)[number][];

/** Budgets as a tree, with the nodes that are above one and have none. */
export function treeOf(nodes: BudgetNode[]): TreeNode[] {
  const roots: TreeNode[] = [];
  const known = new Map<string, TreeNode>();
  const at = ({ scope, scope_id: id, name }: Pick<BudgetNode, "scope" | "scope_id" | "name">, siblings: TreeNode[]): TreeNode => {
    const key = `${scope} ${id}`;
    const found = known.get(key) ?? { key, scope, id, name: name ?? null, budgets: [], children: [] };
    if (!known.has(key)) siblings.push(found);
    known.set(key, found);
    return found;
  };
  for (const node of nodes) {
    let siblings = roots;
    for (const place of node.above) siblings = at(place, siblings).children;
    at(node, siblings).budgets.push(node);
  }
  return inOrder(roots);
}

function inOrder(nodes: TreeNode[]): TreeNode[] {
  const rank = (order: string[], value: string) => (order.includes(value) ? order.indexOf(value) : order.length);
  return nodes
    .toSorted((a, b) => rank(SCOPES, a.scope) - rank(SCOPES, b.scope) || (a.name ?? a.id).localeCompare(b.name ?? b.id))
    .map((node) => ({ ...node, budgets: node.budgets.toSorted((a, b) => rank(LONGEST_FIRST, a.period) - rank(LONGEST_FIRST, b.period)), children: inOrder(node.children) }));
}

/** All nodes below one, whatever is folded. */
export function below(node: TreeNode): number {
  return node.children.reduce((count, child) => count + 1 + below(child), 0);
}
