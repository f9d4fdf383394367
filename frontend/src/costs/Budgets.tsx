import { Link } from "@tanstack/react-router";
import type { UseQueryResult } from "@tanstack/react-query";
import { Plus, Wallet } from "lucide-react";
import { useState } from "react";
import { deleteBudget, putBudgetOn, useCommand, type BudgetPath } from "../api/actions";
import type { BudgetNode, Page, PutBudget } from "../api/types";
import { t } from "../i18n/en";
import { Button, buttonClass } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { EmptyState, Loaded } from "../ui/feedback";
import { BudgetForm } from "./BudgetForm";
import { EMPTY_BUDGET, formOfNode, hasLimit, isOfProject, nodeKey, nodeName } from "./budgets";
import { BudgetTree } from "./BudgetTree";

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
          // A project's own is edited here, so that it is shown without a limit as well; among many projects it would be noise.
          const shown = items.filter((node) => hasLimit(node) || (projectId !== null && isOfProject(node)));
          return shown.length === 0 ? <div className="card"><EmptyState icon={<Wallet size={28} aria-hidden="true" />} title={t.budgets.none} detail={t.budgets.noneDetail} action={add} /></div> : (
            <>
              <BudgetTree label={title} nodes={shown} actions={(node) => <Actions node={node} projectId={projectId} changes={mayChange(node) ? { edit: () => open(node), remove: () => setRemoving(node) } : null} />} />
              {shown.some((node) => node.scope === "agent" || node.scope === "run") ? <p className="mt-1.5 text-xs text-soft">{t.budgets.place}</p> : null}
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
}

function Actions({ node, projectId, changes }: { node: BudgetNode; projectId: string | null; changes: Changes | null }) {
  const name = `${nodeName(node)}, ${t.budgets.periods[node.period] ?? node.period}`;
  // Among an organisation's a project is looked at, and changed where it is at home.
  if (projectId === null && node.scope === "project") return <Link to="/projects/$projectId/costs" params={{ projectId: node.scope_id }} aria-label={`${t.budgets.seeCosts}: ${nodeName(node)}`} className={buttonClass("ghost")}>{t.budgets.seeCosts}</Link>;
  if (changes === null) return null;
  if (projectId !== null && isOfProject(node)) return <Link to="/projects/$projectId/settings" params={{ projectId }} search={{ tab: "budget" }} aria-label={`${t.common.edit}: ${name}`} className={buttonClass("outline")}>{t.common.edit}</Link>;
  return <div className="flex gap-1"><Button aria-label={`${t.common.edit}: ${name}`} onClick={changes.edit}>{t.common.edit}</Button><Button tone="ghost" aria-label={`${t.common.remove}: ${name}`} onClick={changes.remove}>{t.common.remove}</Button></div>;
}
