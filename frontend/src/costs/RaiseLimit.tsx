import { useQuery } from "@tanstack/react-query";
import { ArrowUp } from "lucide-react";
import { putBudgetOn, useCommand, type BudgetPath } from "../api/actions";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { BudgetNode } from "../api/types";
import { percent } from "../format";
import { t } from "../i18n/en";
import { can } from "../shell/project";
import { Button } from "../ui/button";
import { errorText } from "../ui/feedback";
import { nodeName, type NodeAlert } from "./budgets";
import { limitsWith, raised } from "./raise";

function placeName(node: BudgetNode): string {
  return `${nodeName(node)}, ${t.budgets.periods[node.period] ?? node.period}`;
}

/** Which limit, and how far it is used up. */
export function alertSentence({ node, limit, fraction, amount }: NodeAlert): string {
  return `${placeName(node)}: ${t.costs.alert[limit](percent(fraction), amount)}`;
}

/** Who is shown an organisation's budget manages it; another is for who administers the project. Undefined until it is known. */
function useMayRaise(projectId: string, node: BudgetNode): boolean | undefined {
  const ofOrganisation = node.scope === "organisation";
  const project = useQuery({ ...queries.project(projectId), enabled: !ofOrganisation }).data;
  return ofOrganisation || (project && can(project.role, "administer"));
}

interface Props {
  projectId: string;
  alert: NodeAlert;
  /** So much must fit for what waits to go on. */
  needs?: number;
  onRaised?: () => void;
}

/** Raises a hard limit with one click, or says who can. The server has what waits for it look again by itself. */
export function RaiseLimit({ projectId, alert, needs = 0, onRaised }: Props) {
  const { node } = alert;
  const may = useMayRaise(projectId, node);
  const offer = raised(alert, needs);
  const path: BudgetPath = node.scope === "organisation" ? { organisation: node.scope_id, period: node.period } : { project: projectId, scope: node.scope, scopeId: node.scope_id, period: node.period };
  const put = useCommand<{ to: number; amount: string }, void>({
    send: ({ to }, key) => putBudgetOn(path, limitsWith(alert, to), key),
    refresh: () => [keys.budget(projectId), keys.usage(projectId), keys.project(projectId), keys.projects(), keys.runs(projectId), keys.runAll(projectId), keys.storyAll(projectId), keys.gatewayKeys(projectId), ...(node.scope === "organisation" ? [keys.organisationBudgets(node.scope_id)] : [])],
    done: ({ amount }) => t.budgets.raised(placeName(node), amount),
    failed: t.budgets.notRaised,
    onSuccess: () => onRaised?.(),
  });
  if (may === undefined) return null;
  if (!may) return <p><AskProject projectId={projectId} /></p>;
  // What is raised is not offered a second time: the run is on its way, and one press was meant.
  if (put.isSuccess) return <p>{t.budgets.raisedNow}</p>;
  if (offer === null) return null;
  const label = offer.byHalf ? t.budgets.raiseHalf(offer.amount) : t.budgets.raiseTo(offer.amount);
  return (
    <>
      <Button size="md" className="max-w-full pointer-coarse:h-11" aria-label={`${label}: ${placeName(node)}`} busy={put.isPending} onClick={() => put.mutate(offer)}><ArrowUp size={14} aria-hidden="true" />{label}</Button>
      {put.isError ? <p className="mt-1 basis-full">{t.budgets.notRaised}: {errorText(put.error)}</p> : null}
    </>
  );
}

function AskProject({ projectId }: { projectId: string }) {
  const members = useQuery(queries.members(projectId));
  return t.budgets.askProject((members.data ?? []).filter((member) => can(member.role, "administer")).map((member) => member.name));
}
