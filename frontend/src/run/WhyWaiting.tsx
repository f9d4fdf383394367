import { Link } from "@tanstack/react-router";
import type { Run } from "../api/types";
import { dateTime, duration } from "../format";
import { t } from "../i18n/en";
import { Notice } from "../ui/feedback";
import { Ago } from "../ui/time";
import { BudgetWait, type WaitingRun } from "./BudgetWait";
import { waitingSentence } from "./waiting";

type Waiting = NonNullable<Run["waiting"]>;

const BAD = new Set(["dead_letter"]);

/** Why a run does not go on: the reason, whose move it is, until when, and what is left of its attempts. */
export function WhyWaiting({ projectId, run, waiting, now }: { projectId: string; run: WaitingRun; waiting: Waiting; now: number }) {
  const { job } = waiting;
  const link = waiting.approval_id
    ? <Link to="/projects/$projectId/approvals/$approvalId" params={{ projectId, approvalId: waiting.approval_id }} className="font-medium underline">{t.story.waitingApproval}</Link>
    : job && waiting.on !== "rate_limit" ? <Link to="/jobs" search={waiting.on === "dead_letter" ? { tab: "dead" } : {}} className="font-medium underline">{t.why.seeJobs}</Link> : null;
  return (
    <section aria-label={t.why.title} data-waiting={waiting.on}>
      <Notice tone={BAD.has(waiting.on) ? "bad" : "warn"} action={link}>
        <p className="font-medium">{waitingSentence(waiting)}</p>
        <WaitFacts waiting={waiting} now={now} />
        {waiting.on === "budget" ? <BudgetWait key={waiting.since} projectId={projectId} run={run} detail={waiting.detail} /> : null}
      </Notice>
    </section>
  );
}

/** Whose move it is, since when and until when, and how it stands with the job. */
export function WaitFacts({ waiting, now }: { waiting: Waiting; now: number }) {
  const { job, deadline } = waiting;
  return (
    <dl className="mt-1 flex flex-wrap gap-x-5 gap-y-0.5 text-xs">
      <Fact label={t.why.owner}>{waiting.on === "budget" ? t.why.raiser : waiting.owner_name ?? t.why.owners[waiting.owner] ?? waiting.owner}</Fact>
      {waiting.since ? <Fact label={t.why.since}><Ago at={waiting.since} /></Fact> : null}
      {deadline ? <Fact label={deadlineLabel(waiting.on)}><time dateTime={deadline} title={dateTime(deadline)}>{until(deadline, now)}</time></Fact> : null}
      {job ? <Fact label={t.why.attempts}>{t.why.left(job.attempts, job.attempts_left)}</Fact> : null}
      {job ? <Fact>{t.why.job(job.id, job.queue)}</Fact> : null}
    </dl>
  );
}

const DEADLINES: Record<string, string> = {
  retry: t.why.deadline.retry,
  rate_limit: t.why.deadline.provider,
  budget: t.why.deadline.budget,
  approval: t.why.deadline.asked,
  unknown_outcome: t.why.deadline.asked,
  human: t.why.deadline.asked,
};

export function deadlineLabel(on: string): string {
  return DEADLINES[on] ?? t.why.deadline.reminded;
}

/** Back-off is a matter of seconds: no coarse clock will do. */
export function until(moment: string, now: number): string {
  const ms = Date.parse(moment) - now;
  return ms > 0 ? duration(Math.max(ms, 1_000)) : t.why.overdue;
}

function Fact({ label, children }: { label?: string; children: React.ReactNode }) {
  return <div className="flex gap-1.5">{label ? <dt>{label}:</dt> : <dt className="sr-only">{t.jobs.kind}</dt>}<dd className="font-medium tabular">{children}</dd></div>;
}
