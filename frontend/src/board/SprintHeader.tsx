import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { commandSprint, useCommand, type SprintCommand } from "../api/actions";
import { keys } from "../api/keys";
import type { Project, Sprint, Story } from "../api/types";
import { t } from "../i18n/en";
import { Button, buttonClass } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { BudgetBar } from "../ui/entity";
import { SelectField, TextArea } from "../ui/form";
import { Status } from "../ui/status";
import { useNow } from "../ui/time";
import { BurnDownChart } from "./BurnDownChart";
import { burnDown } from "./burndown";
import { isOpen } from "./columns";

const DAY_MS = 86_400_000;

export function daysLeft(endsOn: string, now: number): number {
  return Math.ceil((Date.parse(`${endsOn}T23:59:59Z`) - now) / DAY_MS) - 1;
}

export function SprintHeader({ sprint, sprints, stories, project, mayWrite }: { sprint: Sprint; sprints: Sprint[]; stories: Story[]; project: Project | undefined; mayWrite: boolean }) {
  const now = useNow();
  const [asking, setAsking] = useState<"complete" | "cancel" | null>(null);
  const command = useCommand<SprintCommand, Sprint>({
    send: (input, key) => commandSprint(sprint.project_id, sprint.id, input, key),
    refresh: () => [keys.sprints(sprint.project_id), keys.stories(sprint.project_id), keys.approvals()],
    done: t.common.saved,
    failed: t.board.refused(sprint.name),
  });
  const run = (input: SprintCommand) => command.mutate(input);
  const burning = sprint.state === "active" ? burnDown(sprint, stories, now) : null;
  const left = sprint.ends_on && sprint.state === "active" ? daysLeft(sprint.ends_on, now) : null;
  return (
    <section aria-label={sprint.name} className="gutter pt-4">
      <div className="card flex flex-wrap items-center gap-x-8 gap-y-3 px-4 py-3">
        <div className="min-w-52 flex-1 basis-64">
          <div className="flex flex-wrap items-center gap-2"><h2 className="text-md font-semibold">{sprint.name}</h2><Status value={sprint.state} />{left === null ? null : <span className={left < 0 ? "font-medium text-warn" : "text-soft"}>{t.board.daysLeft(left)}</span>}</div>
          <p className="mt-0.5 text-soft">{sprint.goal}</p>
        </div>
        {burning ? <BurnDownChart data={burning} /> : null}
        <div className="w-40 max-sm:flex-1">
          <progress className="bar" max={Math.max(1, sprint.points_total)} value={sprint.points_done} data-tone="ok" aria-label={t.board.points} />
          <p className="mt-1.5 text-xs text-soft tabular">{t.board.pointsDone(sprint.points_done, sprint.points_total)}</p>
        </div>
        {project?.budget ? <div className="w-64 max-sm:w-full"><BudgetBar budget={project.budget} label={t.cost.budget} /></div> : null}
        {sprint.approval_id || mayWrite ? (
          <div className="flex flex-wrap items-center gap-1.5">
            {sprint.approval_id ? <Link to="/projects/$projectId/approvals/$approvalId" params={{ projectId: sprint.project_id, approvalId: sprint.approval_id }} className={buttonClass("primary")}>{t.story.waitingApproval}</Link> : null}
            {mayWrite ? (
              <>
                {sprint.state === "planning" ? <Button tone="primary" busy={command.isPending} onClick={() => run({ name: "start" })}>{t.board.start}</Button> : null}
                {sprint.state === "active" ? <Button busy={command.isPending} onClick={() => run({ name: "request-review" })}>{t.board.review}</Button> : null}
                {sprint.state === "review" ? <Button tone="primary" busy={command.isPending} onClick={() => setAsking("complete")}>{t.board.complete}</Button> : null}
                {isOpen(sprint) ? <Button tone="ghost" onClick={() => setAsking("cancel")}>{t.board.cancelSprint}</Button> : null}
              </>
            ) : null}
          </div>
        ) : null}
      </div>
      <Dialog open={asking !== null} onClose={() => setAsking(null)} title={asking === "complete" ? t.board.complete : t.board.cancelSprint}>
        {asking ? <AskForm what={asking} sprint={sprint} sprints={sprints} onClose={() => setAsking(null)} onRun={run} /> : null}
      </Dialog>
    </section>
  );
}

function AskForm({ what, sprint, sprints, onClose, onRun }: { what: "complete" | "cancel"; sprint: Sprint; sprints: Sprint[]; onClose: () => void; onRun: (command: SprintCommand) => void }) {
  const [text, setText] = useState("");
  const targets = sprints.filter((item) => item.id !== sprint.id && isOpen(item));
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
