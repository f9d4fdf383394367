import { Link } from "@tanstack/react-router";
import type { UseQueryResult } from "@tanstack/react-query";
import { Plus, Wallet } from "lucide-react";
import { useState } from "react";
import { deleteBudget, putBudgetOn, useCommand, type BudgetPath } from "../api/actions";
import type { BudgetNode, Page, PutBudget } from "../api/types";
import { money, percent, shortTime } from "../format";
import { t } from "../i18n/en";
import { Button, buttonClass } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { BudgetBar, Cost, UsedBar } from "../ui/entity";
import { EmptyState, Loaded } from "../ui/feedback";
import { TableFrame } from "../ui/page";
import { Badge } from "../ui/status";
import { useNow } from "../ui/time";
import { BudgetForm } from "./BudgetForm";
import { EMPTY_BUDGET, formOfNode, hasLimit, isOfProject, nodeKey, nodeName, tokensUsed } from "./budgets";

interface Props {
  /** Whose budgets they are: what is in a project, or an organisation. */
  owner: { project: string } | { organisation: string };
  title: string;
  query: UseQueryResult<Page<BudgetNode>>;
  /** What is read anew after a change. */
  refresh: readonly (readonly unknown[])[];
  mayEdit: boolean;
}

/** Budgets of the tree: what is used of each, and, for who may, how they are set. */
export function Budgets({ owner, title, query, refresh, mayEdit }: Props) {
  const [editing, setEditing] = useState<BudgetNode | "new" | null>(null);
  const [removing, setRemoving] = useState<BudgetNode | null>(null);
  const projectId = "project" in owner ? owner.project : null;
  const pathOf = (node: Pick<BudgetNode, "scope" | "scope_id" | "period">): BudgetPath => (projectId === null ? { organisation: node.scope_id, period: node.period } : { project: projectId, scope: node.scope, scopeId: node.scope_id, period: node.period });
  const put = useCommand<{ path: BudgetPath; limits: PutBudget }, void>({ send: ({ path, limits }, key) => putBudgetOn(path, limits, key), refresh: () => refresh, done: t.common.saved, quietFields: true, onSuccess: () => setEditing(null) });
  const remove = useCommand<BudgetNode, void>({ send: (node, key) => deleteBudget(pathOf(node), key), refresh: () => refresh, done: t.budgets.removed, onSuccess: () => setRemoving(null) });
  const open = (what: BudgetNode | "new") => { put.reset(); setEditing(what); };
  // A budget of the organisation is not this project's to change.
  const mayChange = (node: BudgetNode) => mayEdit && (projectId === null ? node.scope === "organisation" : node.scope !== "organisation");
  const add = mayEdit ? <Button onClick={() => open("new")}><Plus size={14} aria-hidden="true" />{t.budgets.add}</Button> : null;
  return (
    <section aria-label={title} className="mt-6">
      <div className="mb-2 flex items-center gap-2"><h2 className="text-md font-semibold">{title}</h2><div className="ml-auto">{add}</div></div>
      <Loaded query={query}>
        {({ items, next_cursor: more }) => {
          const shown = items.filter((node) => hasLimit(node) || isOfProject(node));
          return shown.length === 0 ? <div className="card"><EmptyState icon={<Wallet size={28} aria-hidden="true" />} title={t.budgets.none} detail={t.budgets.noneDetail} action={add} /></div> : (
            <>
              <TableFrame label={title} heads={[t.budgets.on, t.budgets.period, t.budgets.used, ...(mayEdit ? [t.common.actions] : [])]}>
                {shown.map((node) => <Row key={nodeKey(node)} node={node} actions={mayEdit} changes={mayChange(node) ? { edit: () => open(node), remove: () => setRemoving(node), projectId } : null} />)}
              </TableFrame>
              {more ? <p className="mt-1.5 text-xs text-soft">{t.budgets.more(shown.length)}</p> : null}
            </>
          );
        }}
      </Loaded>
      <Dialog open={editing !== null} onClose={() => setEditing(null)} title={editing === null ? "" : editing === "new" ? t.budgets.add : `${t.budgets.edit}: ${nodeName(editing)}, ${t.budgets.periods[editing.period] ?? editing.period}`}>
        {editing === null ? null : (
          <BudgetForm key={editing === "new" ? "new" : nodeKey(editing)} projectId={projectId} initial={editing === "new" ? EMPTY_BUDGET : formOfNode(editing)} fixed={editing !== "new"} busy={put.isPending} error={put.error} onCancel={() => setEditing(null)}
            onSubmit={(form, limits) => put.mutate({ limits, path: editing !== "new" ? pathOf(editing) : "organisation" in owner ? { organisation: owner.organisation, period: form.period } : { project: owner.project, scope: form.scope, scopeId: form.scope === "project" ? owner.project : form.target, period: form.period } })} />
        )}
      </Dialog>
      <Dialog open={removing !== null} onClose={() => setRemoving(null)} title={removing ? t.budgets.removeAsk(nodeName(removing)) : ""}>
        <p>{t.budgets.removeHelp}</p>
        <div className="mt-4 flex justify-end gap-2">
          <Button size="md" tone="ghost" data-autofocus onClick={() => setRemoving(null)}>{t.common.cancel}</Button>
          <Button size="md" tone="danger" busy={remove.isPending} onClick={() => { if (removing) remove.mutate(removing); }}>{t.common.remove}</Button>
        </div>
      </Dialog>
    </section>
  );
}

interface Changes {
  edit: () => void;
  remove: () => void;
  projectId: string | null;
}

function Row({ node, actions, changes }: { node: BudgetNode; actions: boolean; changes: Changes | null }) {
  const now = useNow();
  const name = nodeName(node);
  return (
    <tr className="align-top hover:bg-hover" data-budget={nodeKey(node)}>
      <th scope="row" className="px-3 py-2 text-left font-normal"><Badge className="mr-1.5">{t.budgets.scopes[node.scope] ?? node.scope}</Badge><span className="font-medium">{node.name ?? node.scope_id.slice(-6)}</span></th>
      <td className="px-3 py-2 whitespace-nowrap">{t.budgets.periods[node.period] ?? node.period}{node.ends_at ? <span className="block text-xs text-soft">{t.budgets.anew(shortTime(node.ends_at, new Date(now)))}</span> : null}</td>
      <td className="min-w-52 px-3 py-2"><Used node={node} label={`${name}: ${t.budgets.used}`} /></td>
      {actions ? (
        <td className="px-3 py-2">
          {changes === null ? null : isOfProject(node) && changes.projectId !== null
            ? <Link to="/projects/$projectId/settings" params={{ projectId: changes.projectId }} search={{ tab: "budget" }} aria-label={`${t.common.edit}: ${name}`} className={buttonClass("outline")}>{t.common.edit}</Link>
            : <div className="flex gap-1"><Button aria-label={`${t.common.edit}: ${name}`} onClick={changes.edit}>{t.common.edit}</Button><Button tone="ghost" aria-label={`${t.common.remove}: ${name}`} onClick={changes.remove}>{t.common.remove}</Button></div>}
        </td>
      ) : null}
    </tr>
  );
}

/** What is used of each limit that there is. */
function Used({ node, label }: { node: BudgetNode; label: string }) {
  const { hard_limit_micro_usd: hard, soft_limit_micro_usd: soft, hard_limit_tokens: hardTokens, soft_limit_tokens: softTokens } = node;
  const isSet = (limit: number | null | undefined): limit is number => limit !== null && limit !== undefined;
  const tokens = isSet(hardTokens) ? tokensUsed(node, hardTokens) : null;
  return (
    <div className="flex flex-col gap-2">
      {isSet(hard) ? <BudgetBar budget={node} label={label} /> : <p><Cost real={node.spent_micro_usd} simulated={node.simulated_micro_usd} /> <span className="text-xs text-soft">{t.cost.noLimit}</span></p>}
      {tokens ? <UsedBar label={`${label} (${t.costs.tokens})`} fraction={tokens.fraction} text={`${tokens.text} (${percent(tokens.fraction)})`} /> : null}
      {isSet(soft) || isSet(softTokens) ? <p className="text-xs text-soft">{t.budgets.softAt([isSet(soft) ? money(soft) : "", isSet(softTokens) ? t.budgets.tokensOf(softTokens) : ""].filter(Boolean))}</p> : null}
    </div>
  );
}
