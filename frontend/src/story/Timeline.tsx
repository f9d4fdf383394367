import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { RotateCcw } from "lucide-react";
import { retryRun, useCommand } from "../api/actions";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { Run, Step, Story } from "../api/types";
import { duration, percent } from "../format";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { ActorName, Cost } from "../ui/entity";
import { EmptyState, Loaded, Notice } from "../ui/feedback";
import { Status, labelOf } from "../ui/status";
import { Ago } from "../ui/time";
import { LiveText } from "../run/LiveText";
import { waitingSentence } from "../run/waiting";
import { Prose } from "../ui/prose";
import { StepRow } from "./StepRow";

/** A pause between two steps long enough to be worth a line; shorter ones are hidden. */
export const IDLE_MS = 60_000;

export function idleBefore(steps: Step[], index: number): number {
  const previous = steps[index - 1];
  const step = steps[index];
  if (!previous?.ended_at || !step) return 0;
  const gap = Date.parse(step.started_at) - Date.parse(previous.ended_at);
  return gap >= IDLE_MS ? gap : 0;
}

const OVER = new Set(["succeeded", "failed", "stalled", "cancelled"]);

/** The newest run first: what is going on is what people come to see. */
export function Timeline({ story, mayWrite }: { story: Story; mayWrite: boolean }) {
  const timeline = useQuery(queries.storyTimeline(story.project_id, story.id));
  return (
    <Loaded query={timeline}>
      {(items) => items.length === 0 ? <EmptyState title={t.story.noTimeline} detail={t.story.noTimelineDetail} /> : (
        <ol className="flex flex-col gap-3 p-3 md:p-5">
          {items.toReversed().map(({ run, steps }) => <RunBlock key={run.id} run={run} steps={steps} story={story} mayWrite={mayWrite} />)}
        </ol>
      )}
    </Loaded>
  );
}

function RunBlock({ run, steps, story, mayWrite }: { run: Run; steps: Step[]; story: Story; mayWrite: boolean }) {
  const p = story.project_id;
  const retry = useCommand<number, Run>({
    send: (step, key) => retryRun(p, run.id, step, key),
    refresh: () => [keys.story(p, story.id), keys.runs(p)],
    done: t.story.retried,
  });
  const retryable = mayWrite && OVER.has(run.state) && run.state !== "succeeded";
  return (
    <li className="card overflow-hidden">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-line bg-raised/60 px-3 py-2">
        <Link to="/projects/$projectId/runs/$runId" params={{ projectId: p, runId: run.id }} className="font-semibold hover:underline">{labelOf(run.stage)}</Link>
        <ActorName actor={{ type: "agent", id: run.agent.id, name: run.agent.name }} className="text-soft" />
        <Status value={run.state} />
        {run.confidence === null || run.confidence === undefined ? null : <span className="text-soft tabular">{t.approval.confidence(percent(run.confidence))}</span>}
        <span className="ml-auto flex flex-wrap items-center justify-end gap-x-3 whitespace-nowrap text-soft">
          <span className="tabular">{t.story.steps(run.steps_count)}</span>
          {run.ended_at ? <span className="tabular">{duration(Date.parse(run.ended_at) - Date.parse(run.started_at))}</span> : null}
          <Cost real={run.cost_micro_usd} simulated={run.simulated_micro_usd} />
          <Ago at={run.started_at} />
        </span>
      </div>
      {run.waiting?.detail ? <div className="p-2"><Notice tone="warn">{waitingSentence(run.waiting)}</Notice></div> : null}
      {run.reason ? <div className="p-2"><Notice tone={run.state === "cancelled" ? "warn" : "bad"}>{run.reason}</Notice></div> : null}
      {steps.map((step, index) => {
        const idle = idleBefore(steps, index);
        return (
          <div key={step.id}>
            {idle > 0 ? <p className="border-b border-line px-9 py-0.5 text-2xs text-faint">{t.story.idle(duration(idle))}</p> : null}
            <StepRow step={step} actions={retryable ? <Button busy={retry.isPending} onClick={() => retry.mutate(step.number)}><RotateCcw size={13} aria-hidden="true" />{t.story.retryHere}</Button> : null} />
          </div>
        );
      })}
      {OVER.has(run.state) ? null : <LiveText runId={run.id} name={run.agent.name} className="border-t border-line px-3 py-2" />}
      {run.summary ? <Prose text={run.summary} className="border-t border-line px-3 py-2 text-soft" /> : null}
    </li>
  );
}
