import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { useId, useState } from "react";
import type { BudgetNode } from "../api/types";
import { t } from "../i18n/en";
import { Button, buttonClass } from "../ui/button";
import { Notice } from "../ui/feedback";
import { isOfProject, nodeAlerts, type NodeAlert } from "./budgets";
import { RaiseLimit, alertSentence } from "./RaiseLimit";

/** One figure. */
export function Tile({ label, children, className }: { label: string; children: React.ReactNode; className?: string | undefined }) {
  return <div className={clsx("card p-4", className)}><h2 className="mb-1 text-xs text-soft">{label}</h2>{children}</div>;
}

/** So many are shown at first, and the others on a press. */
const SHOWN_ALERTS = 3;

/** Calls are refused at it. */
function isReached({ limit, fraction }: NodeAlert): boolean {
  return limit === "hard" && fraction >= 1;
}

/** What the budgets above a project's calls have to say, and where they are raised: one notice, the most urgent first. */
export function NodeAlerts({ projectId, nodes }: { projectId: string; nodes: BudgetNode[] }) {
  const [all, setAll] = useState(false);
  const list = useId();
  const alerts = nodeAlerts(nodes);
  if (alerts.length === 0) return null;
  const more = alerts.length - SHOWN_ALERTS;
  return (
    <div className="mb-4" data-budget-alerts={alerts.length}>
      <Notice tall tone={alerts.some(isReached) ? "bad" : "warn"}>
        {alerts.length > 1 ? <p className="mb-2">{t.costs.alerts(alerts.length)}</p> : null}
        <ul id={list} aria-label={t.costs.alertList} className="flex flex-col gap-2.5">
          {(all ? alerts : alerts.slice(0, SHOWN_ALERTS)).map((alert) => <Alert key={alert.key} projectId={projectId} alert={alert} />)}
        </ul>
        {more > 0 ? <Button className="mt-2.5" aria-expanded={all} aria-controls={list} onClick={() => setAll(!all)}>{all ? t.costs.fewerAlerts : t.costs.moreAlerts(more)}</Button> : null}
      </Notice>
    </div>
  );
}

function Alert({ projectId, alert }: { projectId: string; alert: NodeAlert }) {
  const { node, limit } = alert;
  return (
    <li className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
      <div className="min-w-0 flex-1">
        <p className="font-medium">{alertSentence(alert)}</p>
        <p>{limit === "soft" ? t.costs.alertSoft : isReached(alert) ? t.costs.alertReached : t.costs.alertHard}</p>
        {limit === "hard" ? <div className="mt-1.5"><RaiseLimit projectId={projectId} alert={alert} /></div> : null}
      </div>
      {isOfProject(node) ? <Link to="/projects/$projectId/settings" params={{ projectId }} search={{ tab: "budget" }} className={buttonClass("outline")}>{t.inbox.raise}</Link> : null}
    </li>
  );
}
