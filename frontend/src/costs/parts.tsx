import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import type { Budget } from "../api/types";
import { money, percent } from "../format";
import { t } from "../i18n/en";
import { buttonClass } from "../ui/button";
import { Notice } from "../ui/feedback";
import { budgetAlerts } from "./alerts";

/** One figure. */
export function Tile({ label, children, className }: { label: string; children: React.ReactNode; className?: string }) {
  return <div className={clsx("card p-4", className)}><h2 className="mb-1 text-xs text-soft">{label}</h2>{children}</div>;
}

/** What the budget of a project has to say, and where it is raised. */
export function Alerts({ projectId, budget }: { projectId: string; budget: Budget | null | undefined }) {
  const alerts = budgetAlerts(budget);
  if (alerts.length === 0) return null;
  return (
    <div className="mb-4 flex flex-col gap-2" data-budget-alerts={alerts.map((alert) => alert.limit).join(" ")}>
      {alerts.map(({ limit, limitMicroUsd, fraction }) => (
        <Notice key={limit} tone={limit === "hard" && fraction >= 1 ? "bad" : "warn"} action={<Link to="/projects/$projectId/settings" params={{ projectId }} search={{ tab: "budget" }} className={buttonClass("outline")}>{t.inbox.raise}</Link>}>
          <p className="font-medium">{t.costs.alert[limit](percent(fraction), money(limitMicroUsd))}</p>
          <p>{limit === "soft" ? t.costs.alertSoft : fraction >= 1 ? t.costs.alertReached : t.costs.alertHard}</p>
        </Notice>
      ))}
    </div>
  );
}
