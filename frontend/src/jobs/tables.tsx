import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Cog, ServerOff, Square } from "lucide-react";
import { useState } from "react";
import type { Job, Project, Queue, Worker } from "../api/types";
import { count, duration } from "../format";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { EmptyState } from "../ui/feedback";
import { ACTS, TableFrame } from "../ui/page";
import { Badge, Dot } from "../ui/status";
import { Ago } from "../ui/time";
import { Confirm, type Asking } from "./Confirm";
import { useSettle } from "./settle";

const CELL = "px-3 py-2 whitespace-nowrap";
const NUMBER = "px-3 py-2 text-right tabular";

export const seconds = (value: number) => duration(value * 1_000);

export function Queues({ queues }: { queues: Queue[] }) {
  const right = (label: string) => ({ label, right: true as const });
  return (
    <TableFrame label={t.jobs.queues} heads={[t.jobs.queue, right(t.jobs.ready), right(t.jobs.oldest), right(t.jobs.running), right(t.jobs.scheduled), right(t.jobs.dead), t.jobs.polledBy]}>
      {queues.map((queue) => (
        <tr key={queue.queue} className="hover:bg-hover">
          <th scope="row" className={clsx(CELL, "font-medium")}>{queue.queue}</th>
          <td className={NUMBER}>{count(queue.depth)}</td>
          <td className={clsx(NUMBER, "whitespace-nowrap")}>{queue.oldest_age_seconds === null || queue.oldest_age_seconds === undefined ? "–" : seconds(queue.oldest_age_seconds)}</td>
          <td className={NUMBER}>{count(queue.running)}</td>
          <td className={NUMBER}>{count(queue.scheduled)}</td>
          <td className={clsx(NUMBER, queue.dead > 0 && "font-medium text-bad")}>{count(queue.dead)}</td>
          <td className={CELL}>{queue.workers > 0 ? t.jobs.workerCount(queue.workers) : <span className={queue.depth > 0 ? "font-medium text-warn" : "text-soft"}>{t.jobs.nobody}</span>}</td>
        </tr>
      ))}
    </TableFrame>
  );
}

export function Workers({ workers }: { workers: Worker[] }) {
  if (workers.length === 0) return <div className="card"><EmptyState icon={<ServerOff size={28} aria-hidden="true" />} title={t.jobs.noWorkers} detail={t.jobs.noWorkersDetail} /></div>;
  return (
    <TableFrame label={t.jobs.workers} wide heads={[t.jobs.worker, t.jobs.state, t.jobs.started, { label: t.jobs.running, right: true }, t.jobs.polls, t.jobs.incarnation]}>
      {workers.map((worker) => (
        <tr key={worker.id} className="hover:bg-hover" data-worker={worker.id}>
          <th scope="row" className={clsx(CELL, "font-medium")}>{worker.name}</th>
          <td className={CELL}>{worker.alive ? <Badge tone="ok"><Dot tone="ok" />{t.jobs.alive}</Badge> : <Badge tone="bad"><Dot tone="bad" />{t.jobs.silent(seconds(worker.silent_seconds))}</Badge>}</td>
          <td className={clsx(CELL, "text-soft")}><Ago at={worker.started_at} /></td>
          <td className={NUMBER}>{count(worker.running)}</td>
          <td className="px-3 py-2"><span className="flex flex-wrap gap-1">{worker.queues ? worker.queues.map((queue) => <Badge key={queue}>{queue}</Badge>) : <span className="text-soft">{t.jobs.pollsUnknown}</span>}</span></td>
          <td className={clsx(CELL, "font-mono text-2xs text-soft")}>{worker.id}</td>
        </tr>
      ))}
    </TableFrame>
  );
}

/** The question is gone with its answer: the focus goes to its job, or to the page where that has nothing to take it. */
function focusJob(id: string | undefined): void {
  const found = ["button:enabled", "a"].map((what) => document.querySelector<HTMLElement>(`[data-job="${id ?? ""}"] ${what}`)).find(Boolean);
  (found ?? document.querySelector<HTMLElement>("#content"))?.focus();
}

export function Running({ jobs, workers, projects }: { jobs: Job[]; workers: Worker[]; projects: Project[] }) {
  const [asking, setAsking] = useState<Asking | null>(null);
  const asked = asking?.jobs[0]?.id;
  const back = () => requestAnimationFrame(() => focusJob(asked));
  const settling = useSettle(back);
  const close = () => {
    setAsking(null);
    back();
  };
  return (
    <>
      {jobs.length === 0
        ? <div className="card"><EmptyState icon={<Cog size={28} aria-hidden="true" />} title={t.jobs.noneRunning} detail={t.jobs.noneRunningDetail} /></div>
        : <RunningTable jobs={jobs} workers={workers} projects={projects} busy={settling.progress !== null} onCancel={(job) => setAsking({ what: "cancel", jobs: [job] })} />}
      {/* The last job may end while it is asked about: the question stays until it is answered. */}
      <Confirm asking={asking} onClose={close} onConfirm={({ what, jobs: chosen }, reason) => { setAsking(null); void settling.run(what, chosen, reason); }} />
    </>
  );
}

function RunningTable({ jobs, workers, projects, busy, onCancel }: { jobs: Job[]; workers: Worker[]; projects: Project[]; busy: boolean; onCancel: (job: Job) => void }) {
  const names = new Map(workers.map((worker) => [worker.id, worker.name]));
  return (
    <TableFrame label={t.jobs.tabs.running} wide heads={[t.jobs.kind, t.jobs.queue, t.jobs.project, t.jobs.worker, t.jobs.attempt, t.jobs.enqueued, { label: t.jobs.action, acts: true }]}>
      {jobs.map((job) => (
        <tr key={job.id} className="hover:bg-hover" data-job={job.id}>
          <th scope="row" className={clsx(CELL, "font-mono text-xs font-normal")}><RunLink job={job}>{job.kind}</RunLink></th>
          <td className={CELL}><Badge>{job.queue}</Badge></td>
          <td className={CELL}>{projectName(projects, job) ?? "–"}</td>
          <td className={CELL}>{names.get(job.worker_id ?? "") ?? "–"}</td>
          <td className={clsx(CELL, "tabular", job.attempts > 1 && "text-warn")}>{t.jobs.attempts(job.attempts, job.max_attempts)}</td>
          <td className={clsx(CELL, "text-soft")}><Ago at={job.created_at} /></td>
          <td className={clsx(ACTS, "whitespace-nowrap")}>
            {job.cancel_requested ? <Badge tone="warn">{t.jobs.cancelling}</Badge> : null}
            {job.may_cancel ? <Button tone="ghost" disabled={busy} aria-label={`${t.jobs.cancel}: ${job.kind}, ${job.id}`} onClick={() => onCancel(job)}><Square size={13} aria-hidden="true" />{t.jobs.cancel}</Button> : null}
          </td>
        </tr>
      ))}
    </TableFrame>
  );
}

export function projectName(projects: Project[], job: Job): string | undefined {
  return projects.find((project) => project.id === job.project_id)?.name;
}

/** To the run that a job goes on with, where it is about one. */
export function RunLink({ job, children }: { job: Job; children: React.ReactNode }) {
  if (!job.run_id || !job.project_id) return <>{children}</>;
  return <Link to="/projects/$projectId/runs/$runId" params={{ projectId: job.project_id, runId: job.run_id }} className="text-accent hover:underline">{children}</Link>;
}
