import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { clsx } from "clsx";
import { RotateCcw, Square } from "lucide-react";
import { cancelRun, retryRun, useCommand } from "../api/actions";
import { ApiError } from "../api/client";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { Run, RunDetail, Step } from "../api/types";
import { compact, count, dateTime, duration, money } from "../format";
import { CallWay } from "../gateway/Way";
import { t } from "../i18n/en";
import { useShortcuts } from "../keyboard";
import { LiveText } from "../run/LiveText";
import { RunHistory } from "../run/RunHistory";
import { WhyWaiting } from "../run/WhyWaiting";
import { waterfall, type Bar } from "../run/waterfall";
import { Missing } from "../shell/fallbacks";
import { can } from "../shell/project";
import { heldUp, sayingOf } from "../story/saying";
import { StepBody, StepIcon, StepNumbers, StepStatus } from "../story/StepRow";
import { Button } from "../ui/button";
import { Confidence, Cost } from "../ui/entity";
import { EmptyState, Loaded, Notice, SkeletonRows } from "../ui/feedback";
import { Prose } from "../ui/prose";
import { Badge, Status, labelOf } from "../ui/status";
import { Tabs } from "../ui/tabs";
import { useClock } from "../ui/time";

export function RunPage() {
  const { projectId, runId } = useParams({ from: "/app/projects/$projectId/runs/$runId" });
  const run = useQuery(queries.run(projectId, runId));
  if (run.error instanceof ApiError && run.error.status === 404) return <Missing />;
  return <Loaded query={run} skeleton={<SkeletonRows rows={10} className="page py-6" />}>{(data) => <RunView projectId={projectId} run={data} />}</Loaded>;
}

const OVER = new Set(["succeeded", "failed", "stalled", "cancelled"]);

function RunView({ projectId, run }: { projectId: string; run: RunDetail }) {
  const over = OVER.has(run.state);
  const now = useClock(!over);
  const search = useSearch({ from: "/app/projects/$projectId/runs/$runId" });
  const navigate = useNavigate({ from: "/projects/$projectId/runs/$runId" });
  const project = useQuery(queries.project(projectId));
  const { bars, totalMs } = waterfall(run.steps, now);
  const selected = run.steps.find((step) => String(step.number) === search.step) ?? null;
  const select = (step: Step | undefined) => void (step && navigate({ search: { step: String(step.number) }, replace: true }));
  const index = bars.findIndex((bar) => bar.step.id === selected?.id);
  const mayWrite = can(project.data?.role, "write");
  const version = search.version ? Number(search.version) : null;
  useShortcuts([
    { keys: "j", label: t.keys.next, group: t.groups.list, run: () => select(bars[Math.min(bars.length - 1, index + 1)]?.step) },
    { keys: "k", label: t.keys.previous, group: t.groups.list, run: () => select(bars[Math.max(0, index - 1)]?.step) },
  ]);
  const steps = (
    <section aria-label={t.run.waterfall} className="pt-4">
      <h2 className="mb-2 flex items-center gap-3 text-md font-semibold">{t.run.waterfall}<span className="text-xs font-normal text-soft tabular">{duration(totalMs)}</span></h2>
      {bars.length === 0 ? <div className="card"><EmptyState title={t.run.noSteps} /></div> : (
        <ol className="card overflow-hidden">
          {bars.map((bar) => <StepBar key={bar.step.id} projectId={projectId} bar={bar} open={bar.step.id === selected?.id} onToggle={() => (bar.step.id === selected?.id ? void navigate({ search: {}, replace: true }) : select(bar.step))} retry={mayWrite && OVER.has(run.state) && run.state !== "succeeded" ? <RetryFrom projectId={projectId} run={run} step={bar.step} /> : null} />)}
        </ol>
      )}
    </section>
  );
  return (
    <div className="page py-5">
      <RunHeader projectId={projectId} run={run} now={now} mayWrite={mayWrite} />
      {run.waiting ? <div className="mt-3"><WhyWaiting projectId={projectId} run={run} waiting={run.waiting} now={now} /></div> : null}
      {run.reason ? <div className="mt-3"><Notice tone={run.state === "cancelled" ? "warn" : "bad"}>{run.reason}</Notice></div> : null}
      {run.summary ? <section aria-label={t.run.summary} className="card mt-3 p-3.5"><h2 className="mb-1 text-xs font-semibold text-soft">{t.run.summary}</h2><Prose text={run.summary} /></section> : null}
      {over ? null : <LiveText runId={run.id} name={run.agent.name} className="card mt-3 p-3.5" />}
      <div className="mt-4">
        <Tabs
          label={t.history.view}
          value={search.tab === "history" ? "history" : "steps"}
          onChange={(key) => void navigate({ search: key === "history" ? { tab: key } : {}, replace: true })}
          tabs={[
            { key: "steps", label: t.history.steps, content: () => steps },
            { key: "history", label: t.history.title, content: () => <RunHistory projectId={projectId} run={run} version={version} onVersion={(next) => void navigate({ search: next === null ? { tab: "history" } : { tab: "history", version: String(next) }, replace: true })} /> },
          ]}
        />
      </div>
    </div>
  );
}

function RetryFrom({ projectId, run, step }: { projectId: string; run: Run; step: Step }) {
  const navigate = useNavigate();
  const retry = useCommand<number, Run>({
    send: (number, key) => retryRun(projectId, run.id, number, key),
    refresh: () => [keys.runs(projectId), keys.run(projectId, run.id), keys.storyAll(projectId)],
    done: t.story.retried,
    onSuccess: (next) => {
      if (next?.id) void navigate({ to: "/projects/$projectId/runs/$runId", params: { projectId, runId: next.id } });
    },
  });
  return <Button busy={retry.isPending} onClick={() => retry.mutate(step.number)}><RotateCcw size={13} aria-hidden="true" />{t.story.retryHere}</Button>;
}

function RunHeader({ projectId, run, now, mayWrite }: { projectId: string; run: RunDetail; now: number; mayWrite: boolean }) {
  const stop = useCommand<void, Run>({
    send: (_input, key) => cancelRun(projectId, run.id, t.story.stopReason, key),
    refresh: () => [keys.run(projectId, run.id), keys.runs(projectId), keys.storyAll(projectId)],
    done: t.story.stopped,
  });
  const failed = run.steps.filter((step) => step.status === "failed" && !heldUp(step)).length;
  const took = (run.ended_at ? Date.parse(run.ended_at) : now) - Date.parse(run.started_at);
  const { limits } = run;
  return (
    <header>
      <div className="flex flex-wrap items-center gap-2">
        <h1 className="min-w-0 text-lg font-semibold break-words">{t.run.of(run.agent.name, labelOf(run.stage))}</h1>
        <Status value={run.state} />
        {failed > 0 ? <Badge tone="bad">{t.run.errors(failed)}</Badge> : null}
        {run.story_id ? <Link to="/projects/$projectId/stories/$storyId" params={{ projectId, storyId: run.story_id }} className="text-accent hover:underline">{t.approval.story}</Link> : null}
        {mayWrite && !OVER.has(run.state) ? <Button tone="danger" className="ml-auto" busy={stop.isPending} onClick={() => stop.mutate()}><Square size={12} aria-hidden="true" />{t.story.stop}</Button> : null}
      </div>
      <dl className="mt-3 grid grid-cols-2 gap-2 sm:grid-cols-3 lg:grid-cols-6">
        <Fact label={t.run.started}>{dateTime(run.started_at)}</Fact>
        <Fact label={t.run.took} limit={limits?.max_seconds ? duration(limits.max_seconds * 1_000) : null}>{duration(took)}</Fact>
        <Fact label={t.run.maxSteps} limit={limits?.max_steps ? count(limits.max_steps) : null}>{count(run.steps_count)}</Fact>
        <Fact label={t.run.tokens} limit={limits?.max_tokens ? compact(limits.max_tokens) : null}>{compact(run.tokens_in)} / {compact(run.tokens_out)}</Fact>
        <Fact label={t.run.cost} limit={limits?.max_cost_micro_usd ? money(limits.max_cost_micro_usd) : null}><Cost real={run.cost_micro_usd} simulated={run.simulated_micro_usd} /></Fact>
        {run.confidence === null || run.confidence === undefined ? null : <Fact label={t.approval.confidenceLabel}><Confidence value={run.confidence} /></Fact>}
      </dl>
    </header>
  );
}

function Fact({ label, limit, children }: { label: string; limit?: string | null; children: React.ReactNode }) {
  return (
    <div className="card px-3 py-2">
      <dt className="text-xs text-soft">{label}</dt>
      <dd className="font-medium tabular">{children}{limit ? <span className="font-normal text-faint"> / {limit}</span> : null}</dd>
    </div>
  );
}

const BAR: Record<string, string> = { failed: "bg-bad", unknown: "bg-warn", interrupted: "bg-warn", started: "bg-info live-dot" };

function StepBar({ projectId, bar, open, onToggle, retry }: { projectId: string; bar: Bar; open: boolean; onToggle: () => void; retry: React.ReactNode }) {
  const { step } = bar;
  const saying = step.error ?? sayingOf(step);
  return (
    <li className="border-b border-line last:border-b-0">
      <button type="button" aria-expanded={open} onClick={onToggle} className={clsx("flex w-full items-center gap-2 px-3 py-1.5 text-left -outline-offset-2 hover:bg-hover", open && "bg-raised")}>
        <span className="w-5 shrink-0 text-right text-2xs text-faint tabular max-sm:hidden">{step.number}</span>
        <StepIcon step={step} />
        <span className="flex w-40 shrink-0 flex-col md:w-72"><span className={clsx("truncate font-mono text-xs", step.kind === "model" && "text-violet")}>{step.name}</span><span className={clsx("truncate text-xs", heldUp(step) ? "text-warn" : step.error ? "text-bad" : "text-soft")}>{saying}</span></span>
        <span aria-hidden="true" className="relative h-4 min-w-12 flex-1 rounded bg-well">
          <span className={clsx("absolute inset-y-0.5 rounded-sm", (heldUp(step) ? "bg-warn" : BAR[step.status]) ?? (step.kind === "model" ? "bg-violet" : "bg-accent"))} style={{ left: `${bar.left}%`, width: `${bar.width}%` }} />
        </span>
        <StepStatus step={step} />
        <StepNumbers step={step} />
      </button>
      {/* A model call is known by its step's id. */}
      {open ? <StepBody step={step} actions={retry}>{step.kind === "model" ? <div className="min-w-0"><CallWay projectId={projectId} callId={step.id} /></div> : null}</StepBody> : null}
    </li>
  );
}
