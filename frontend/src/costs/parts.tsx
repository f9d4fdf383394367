import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import type { BudgetNode } from "../api/types";
import { t } from "../i18n/en";
import { buttonClass } from "../ui/button";
import { Notice } from "../ui/feedback";
import { isOfProject, nodeAlerts } from "./budgets";
import { RaiseLimit, alertSentence } from "./RaiseLimit";

/** One figure. */
export function Tile({ label, children, className }: { label: string; children: React.ReactNode; className?: string | undefined }) {
  return <div className={clsx("card p-4", className)}><h2 className="mb-1 text-xs text-soft">{label}</h2>{children}</div>;
}

/** More than these are a list to look through; it stands below. */
const MOST_ALERTS = 3;

/** What the budgets above a project's calls have to say, and where they are raised. */
export function NodeAlerts({ projectId, nodes }: { projectId: string; nodes: BudgetNode[] }) {
  const alerts = nodeAlerts(nodes);
  if (alerts.length === 0) return null;
  const more = alerts.length - MOST_ALERTS;
  return (
    <div className="mb-4 flex flex-col gap-2" data-budget-alerts={alerts.length}>
      {alerts.slice(0, MOST_ALERTS).map((alert) => {
        const { key, node, limit, fraction } = alert;
        return <Notice key={key} tone={limit === "hard" && fraction >= 1 ? "bad" : "warn"} action={isOfProject(node) ? <Link to="/projects/$projectId/settings" params={{ projectId }} search={{ tab: "budget" }} className={buttonClass("outline")}>{t.inbox.raise}</Link> : null}>
          <p className="font-medium">{alertSentence(alert)}</p>
          <p>{limit === "soft" ? t.costs.alertSoft : fraction >= 1 ? t.costs.alertReached : t.costs.alertHard}</p>
          {limit === "hard" ? <div className="mt-1.5"><RaiseLimit projectId={projectId} alert={alert} /></div> : null}
        </Notice>;
      })}
      {more > 0 ? <p className="text-soft">{t.costs.moreAlerts(more)}</p> : null}
    </div>
  );
}
