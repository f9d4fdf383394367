import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { commandSprint, useCommand, type SprintCommand } from "../api/actions";
import { keys } from "../api/keys";
import type { Project, Sprint } from "../api/types";
import { t } from "../i18n/en";
import { Button, buttonClass } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { BudgetBar } from "../ui/entity";
import { SelectField, TextArea } from "../ui/form";
import { Status } from "../ui/status";
import { useNow } from "../ui/time";

const DAY_MS = 86_400_000;

export function daysLeft(endsOn: string, now: number): number {
  return Math.ceil((Date.parse(`${endsOn}T23:59:59Z`) - now) / DAY_MS) - 1;
}

export function SprintHeader({ sprint, sprints, project, mayWrite }: { sprint: Sprint; sprints: Sprint[]; project: Project | undefined; mayWrite: boolean }) {
  const now = useNow();
  const [asking, setAsking] = useState<"complete" | "cancel" | null>(null);
  const command = useCommand<SprintCommand, Sprint>({
    send: (input, key) => commandSprint(sprint.project_id, sprint.id, input, key),
    refresh: () => [keys.sprints(sprint.project_id), keys.stories(sprint.project_id), keys.approvals()],
    done: t.common.saved,
    failed: t.board.refused(sprint.name),
  });
  const run = (input: SprintCommand) => command.mutate(input);
  return (
    <section aria-label={sprint.name} className="card mx-3 mt-3 flex flex-wrap items-center gap-x-6 gap-y-2.5 px-3.5 py-2.5 md:mx-5">
      <div className="min-w-48 flex-1">
        <p className="flex items-center gap-2"><span className="font-semibold">{sprint.name}</span><Status value={sprint.state} />{sprint.ends_on && sprint.state === "active" ? <span className="text-soft">{t.board.daysLeft(daysLeft(sprint.ends_on, now))}</span> : null}</p>
        <p className="mt-0.5 text-soft">{sprint.goal}</p>
      </div>
      <div className="w-44">
        <progress className="bar" max={Math.max(1, sprint.points_total)} value={sprint.points_done} data-tone="ok" aria-label={t.board.points} />
        <p className="mt-1 text-soft tabular">{t.board.pointsDone(sprint.points_done, sprint.points_total)}</p>
      </div>
      {project?.budget ? <div className="w-64"><BudgetBar budget={project.budget} label={t.cost.budget} /></div> : null}
      {sprint.approval_id ? <Link to="/projects/$projectId/approvals/$approvalId" params={{ projectId: sprint.project_id, approvalId: sprint.approval_id }} className={buttonClass("primary")}>{t.story.waitingApproval}</Link> : null}
      {mayWrite ? (
        <div className="flex gap-1.5">
          {sprint.state === "planning" ? <Button tone="primary" busy={command.isPending} onClick={() => run({ name: "start" })}>{t.board.start}</Button> : null}
          {sprint.state === "active" ? <Button busy={command.isPending} onClick={() => run({ name: "request-review" })}>{t.board.review}</Button> : null}
          {sprint.state === "review" ? <Button tone="primary" busy={command.isPending} onClick={() => setAsking("complete")}>{t.board.complete}</Button> : null}
          {sprint.state === "planning" || sprint.state === "active" ? <Button tone="ghost" onClick={() => setAsking("cancel")}>{t.board.cancelSprint}</Button> : null}
        </div>
      ) : null}
      <Dialog open={asking !== null} onClose={() => setAsking(null)} title={asking === "complete" ? t.board.complete : t.board.cancelSprint}>
        {asking ? <AskForm what={asking} sprint={sprint} sprints={sprints} onClose={() => setAsking(null)} onRun={run} /> : null}
      </Dialog>
    </section>
  );
}

function AskForm({ what, sprint, sprints, onClose, onRun }: { what: "complete" | "cancel"; sprint: Sprint; sprints: Sprint[]; onClose: () => void; onRun: (command: SprintCommand) => void }) {
  const [text, setText] = useState("");
  const targets = sprints.filter((item) => item.id !== sprint.id && (item.state === "planning" || item.state === "active"));
  return (
    <form className="flex flex-col gap-3.5" onSubmit={(event) => {
      event.preventDefault();
      onRun(what === "complete" ? { name: "complete", ...(text ? { carry_over_to: text } : {}) } : { name: "cancel", reason: text });
      onClose();
    }}>
      {what === "complete" ? (
        <SelectField label={t.board.carryOver} data-autofocus value={text} onChange={(event) => setText(event.target.value)}>
          <option value="">{t.common.none}</option>
          {targets.map((item) => <option key={item.id} value={item.id}>{item.name}</option>)}
        </SelectField>
      ) : (
        <TextArea label={t.common.reason} data-autofocus required rows={3} value={text} onChange={(event) => setText(event.target.value)} />
      )}
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onClose}>{t.common.close}</Button>
        <Button size="md" tone="primary" type="submit">{what === "complete" ? t.board.complete : t.board.cancelSprint}</Button>
      </div>
    </form>
  );
}
