import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { ChevronRight, RotateCcw } from "lucide-react";
import { useState } from "react";
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

/** The newest run first: what is going on is what people come to see. Older ones that ended well are folded. */
export function Timeline({ story, mayWrite }: { story: Story; mayWrite: boolean }) {
  const timeline = useQuery(queries.storyTimeline(story.project_id, story.id));
  const [idle, setIdle] = useState(true);
  return (
    <Loaded query={timeline}>
      {(items) => {
        if (items.length === 0) return <EmptyState title={t.story.noTimeline} detail={t.story.noTimelineDetail} />;
        const paused = items.some(({ steps }) => steps.some((_step, index) => idleBefore(steps, index) > 0));
        return (
          <div className="flex flex-col gap-2.5 pt-4">
            {paused ? <Button tone="ghost" className="self-end" aria-pressed={!idle} onClick={() => setIdle(!idle)}>{idle ? t.story.hideIdle : t.story.showIdle}</Button> : null}
            <ol className="flex flex-col gap-2.5">
              {items.toReversed().map(({ run, steps }, index) => <RunBlock key={run.id} run={run} steps={steps} story={story} mayWrite={mayWrite} idle={idle} newest={index === 0} />)}
            </ol>
          </div>
        );
      }}
    </Loaded>
  );
}

function RunBlock({ run, steps, story, mayWrite, idle, newest }: { run: Run; steps: Step[]; story: Story; mayWrite: boolean; idle: boolean; newest: boolean }) {
  const p = story.project_id;
  const [chosen, setOpen] = useState<boolean | null>(null);
  const open = chosen ?? (newest || run.state !== "succeeded");
  const retry = useCommand<number, Run>({
    send: (step, key) => retryRun(p, run.id, step, key),
    refresh: () => [keys.story(p, story.id), keys.runs(p)],
    done: t.story.retried,
  });
  const retryable = mayWrite && OVER.has(run.state) && run.state !== "succeeded";
  const name = t.run.of(run.agent.name, labelOf(run.stage));
  return (
    <li className="card overflow-hidden">
      <div className="flex flex-wrap items-center gap-x-2.5 gap-y-1 px-3 py-2">
        <button type="button" aria-expanded={open} aria-label={t.story.stepsOf(name)} onClick={() => setOpen(!open)} className="-mx-1 flex size-6 items-center justify-center rounded hover:bg-hover"><ChevronRight size={14} aria-hidden="true" className={clsx("text-faint transition-transform", open && "rotate-90")} /></button>
        <Link to="/projects/$projectId/runs/$runId" params={{ projectId: p, runId: run.id }} className="font-semibold hover:underline">{labelOf(run.stage)}</Link>
        <ActorName actor={{ type: "agent", id: run.agent.id, name: run.agent.name }} className="text-soft" />
        <Status value={run.state} />
        {run.confidence === null || run.confidence === undefined ? null : <span className="text-xs text-soft tabular">{t.approval.confidence(percent(run.confidence))}</span>}
        <span className="flex flex-wrap items-center gap-x-3 whitespace-nowrap text-xs text-soft sm:ml-auto">
          <span className="tabular">{t.story.steps(run.steps_count)}</span>
          {run.ended_at ? <span className="tabular">{duration(Date.parse(run.ended_at) - Date.parse(run.started_at))}</span> : null}
          <Cost real={run.cost_micro_usd} simulated={run.simulated_micro_usd} />
          <Ago at={run.started_at} />
        </span>
      </div>
      {/* That a person is asked, or what the story says already, is said above, once. */}
      {run.waiting?.detail && !run.waiting.approval_id && !story.waiting_for.includes(run.waiting.detail) ? <div className="px-3 pb-2"><Notice tone="warn">{waitingSentence(run.waiting)}</Notice></div> : null}
      {run.reason ? <div className="px-3 pb-2"><Notice tone={run.state === "cancelled" ? "warn" : "bad"}>{run.reason}</Notice></div> : null}
      {open ? (
        <div className="border-t border-line">
          {steps.map((step, index) => {
            const pause = idle ? idleBefore(steps, index) : 0;
            return (
              <div key={step.id} className="border-b border-line last:border-b-0">
                {pause > 0 ? <p className="border-b border-line bg-well px-3 py-0.5 text-center text-2xs text-faint">{t.story.idle(duration(pause))}</p> : null}
                <StepRow step={step} actions={retryable ? <Button busy={retry.isPending} onClick={() => retry.mutate(step.number)}><RotateCcw size={13} aria-hidden="true" />{t.story.retryHere}</Button> : null} />
              </div>
            );
          })}
        </div>
      ) : null}
      {OVER.has(run.state) ? null : <LiveText runId={run.id} name={run.agent.name} className="border-t border-line bg-violet-wash/40 px-3 py-2" />}
      {run.summary ? <Prose text={run.summary} className={clsx("border-t border-line px-3 py-2 text-soft", !open && "line-clamp-2 border-t-0 pt-0 pl-10")} /> : null}
    </li>
  );
}
