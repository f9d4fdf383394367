import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import * as queries from "../api/queries";
import type { Run } from "../api/types";
import { RaiseLimit, alertSentence } from "../costs/RaiseLimit";
import { limitsAbove, refusalOf, refuses } from "../costs/raise";
import { t } from "../i18n/en";
import { buttonClass } from "../ui/button";
import { Loaded } from "../ui/feedback";

export type WaitingRun = Pick<Run, "id" | "agent" | "story_id">;

/** The limits that a run waits for, each raised with one click by who may. */
export function BudgetWait({ projectId, run, detail }: { projectId: string; run: WaitingRun; detail: string }) {
  const [raised, setRaised] = useState(false);
  const nodes = useQuery(queries.budgets(projectId));
  const story = useQuery({ ...queries.story(projectId, run.story_id), enabled: Boolean(run.story_id) });
  const refusal = refusalOf(detail);
  // A sprint that is not known yet must not read as one that cannot be seen.
  if (refusal?.scope === "sprint" && story.isLoading) return null;
  return (
    <Loaded query={nodes} skeleton={<p className="mt-2">{t.common.loading}</p>}>
      {({ items }) => {
        const limits = limitsAbove(items, { projectId, run, sprintId: story.data?.sprint_id ?? null }, refusal);
        const unseen = refusal !== null && !limits.some((alert) => refuses(alert, refusal));
        const words = unseen ? t.budgets.unseen(refusal.scope) : limits.length === 0 ? t.budgets.noneNear : null;
        return (
          <div className="mt-2 flex flex-col gap-2">
            {raised && limits.length === 0 ? <p>{t.budgets.raisedNow}</p> : words ? <p>{words}</p> : null}
            {limits.length > 0 ? (
              <ul aria-label={t.budgets.holdUp} className="flex flex-col gap-2">
                {limits.map((alert) => (
                  <li key={alert.key} data-limit={alert.key} className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
                    <span className="min-w-0 flex-1 basis-60">{alertSentence(alert)}</span>
                    <RaiseLimit projectId={projectId} alert={alert} needs={refuses(alert, refusal) ? refusal?.needs ?? 0 : 0} onRaised={() => setRaised(true)} />
                  </li>
                ))}
              </ul>
            ) : null}
            <Link to="/projects/$projectId/costs" params={{ projectId }} className={buttonClass("outline", "md", "self-start pointer-coarse:h-11")}>{t.budgets.seeCosts}</Link>
          </div>
        );
      }}
    </Loaded>
  );
}
