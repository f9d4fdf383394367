import { clsx } from "clsx";
import { ChevronRight } from "lucide-react";
import { useId, useState, type KeyboardEvent, type ReactNode } from "react";
import type { BudgetNode } from "../api/types";
import { compact, money, percent, shortTime } from "../format";
import { t } from "../i18n/en";
import { BudgetBar, Cost, UsedBar } from "../ui/entity";
import { Badge } from "../ui/status";
import { useNow } from "../ui/time";
import { nodeKey, nodeName, tokensUsed } from "./budgets";
import { below, treeOf, type TreeNode } from "./tree";

interface Props {
  label: string;
  nodes: BudgetNode[];
  /** What can be done with a budget. */
  actions: (node: BudgetNode) => ReactNode;
}

/** Budgets as nested lists: what is in a node stands below it, and is folded with it. */
export function BudgetTree({ label, nodes, actions }: Props) {
  return (
    <ul aria-label={label} className="card divide-y divide-line">
      {treeOf(nodes).map((node) => <Branch key={node.key} node={node} actions={actions} />)}
    </ul>
  );
}

function Branch({ node, actions }: { node: TreeNode; actions: Props["actions"] }) {
  const [open, setOpen] = useState(true);
  const id = useId();
  const folds = node.children.length > 0;
  return (
    <li>
      <div className="px-3 py-2" data-node={node.key}>
        <Name node={node} fold={folds ? { open, setOpen, controls: id } : null} />
        {node.budgets.length === 0
          ? <p className="mt-0.5 pl-5 text-xs text-faint">{t.budgets.noneOwn}</p>
          : node.budgets.map((budget) => <Row key={nodeKey(budget)} node={budget} actions={actions(budget)} />)}
      </div>
      {folds ? (
        <ul id={id} hidden={!open} aria-label={t.budgets.within(nodeName({ scope: node.scope, scope_id: node.id, name: node.name }))} className="ml-4 border-l border-line sm:ml-5">
          {node.children.map((child) => <Branch key={child.key} node={child} actions={actions} />)}
        </ul>
      ) : null}
    </li>
  );
}

interface Fold {
  open: boolean;
  setOpen: (open: boolean) => void;
  controls: string;
}

/** A node by its name; what is below it is folded by a press, or by the arrows as in a tree. */
function Name({ node, fold }: { node: TreeNode; fold: Fold | null }) {
  const name = <><Badge>{t.budgets.scopes[node.scope] ?? node.scope}</Badge><span className="min-w-0 truncate font-medium">{node.name ?? node.id.slice(-6)}</span></>;
  if (!fold) return <p className="flex min-w-0 items-center gap-1.5 pl-5">{name}</p>;
  const { open, setOpen, controls } = fold;
  const byArrow = (event: KeyboardEvent) => {
    const wanted = { ArrowRight: true, ArrowLeft: false }[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    setOpen(wanted);
  };
  return (
    <button type="button" aria-expanded={open} aria-controls={controls} onClick={() => setOpen(!open)} onKeyDown={byArrow} className="flex w-full min-w-0 items-center gap-1.5 rounded text-left hover:bg-hover pointer-coarse:min-h-11">
      <ChevronRight size={14} aria-hidden="true" className={clsx("shrink-0 text-faint transition-transform", open && "rotate-90")} />
      {name}
      {open ? null : <span className="shrink-0 text-xs text-soft">{t.budgets.folded(below(node))}</span>}
    </button>
  );
}

/** One budget. On a phone its bar has a line of its own. */
function Row({ node, actions }: { node: BudgetNode; actions: ReactNode }) {
  const now = useNow();
  return (
    <div className="mt-1.5 grid grid-cols-[1fr_auto] items-start gap-x-3 gap-y-1.5 pl-5 sm:grid-cols-[9rem_minmax(0,1fr)_auto]" data-budget={nodeKey(node)}>
      <p>{t.budgets.periods[node.period] ?? node.period}{node.ends_at ? <span className="block text-xs text-soft">{t.budgets.anew(shortTime(node.ends_at, new Date(now)))}</span> : null}</p>
      <div className="col-span-2 row-start-2 min-w-0 sm:col-span-1 sm:col-start-2 sm:row-start-1 sm:pt-1.5"><Used node={node} label={`${nodeName(node)}, ${t.budgets.periods[node.period] ?? node.period}: ${t.budgets.used}`} /></div>
      <div className="justify-self-end sm:col-start-3">{actions}</div>
    </div>
  );
}

function isSet(limit: number | null | undefined): limit is number {
  return limit !== null && limit !== undefined;
}

/** What is used of each limit that there is. */
function Used({ node, label }: { node: BudgetNode; label: string }) {
  const { soft_limit_micro_usd: soft, soft_limit_tokens: softTokens } = node;
  return (
    <div className="flex flex-col gap-2">
      <Money node={node} label={label} />
      <Tokens node={node} label={`${label} (${t.costs.tokens})`} />
      {isSet(soft) || isSet(softTokens) ? <p className="text-xs text-soft">{t.budgets.softAt([isSet(soft) ? money(soft) : "", isSet(softTokens) ? t.budgets.tokensOf(softTokens) : ""].filter(Boolean))}</p> : null}
    </div>
  );
}

function share(used: number, limit: number): number {
  return limit === 0 ? 1 : used / limit;
}

function Money({ node, label }: { node: BudgetNode; label: string }) {
  const { hard_limit_micro_usd: hard, soft_limit_micro_usd: soft } = node;
  if (isSet(hard)) return <BudgetBar budget={node} label={label} />;
  const used = isSet(soft) ? share(node.spent_micro_usd + node.simulated_micro_usd, soft) : null;
  return (
    <div>
      <p><Cost real={node.spent_micro_usd} simulated={node.simulated_micro_usd} /> <span className="text-xs text-soft">{t.cost.noLimit}</span></p>
      {used === null ? null : <UsedBar label={label} fraction={used} text={t.budgets.ofSoft(percent(used))} />}
    </div>
  );
}

function Tokens({ node, label }: { node: BudgetNode; label: string }) {
  const { hard_limit_tokens: hard, soft_limit_tokens: soft, spent_tokens: spent, reserved_tokens: reserved } = node;
  if (isSet(hard)) {
    const { text, fraction } = tokensUsed(node, hard);
    return <UsedBar label={label} fraction={fraction} reserved={share(reserved, hard)} soft={isSet(soft) ? share(soft, hard) : undefined} text={`${text} (${percent(fraction)})${reserved > 0 ? `, ${t.cost.reserved(compact(reserved))}` : ""}`} />;
  }
  if (!isSet(soft)) return null;
  const used = share(spent, soft);
  return <UsedBar label={label} fraction={used} text={`${t.budgets.tokensOf(spent)}, ${t.budgets.ofSoft(percent(used))}`} />;
}
