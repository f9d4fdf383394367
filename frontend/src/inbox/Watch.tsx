import { useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Bell, CircleDollarSign, Clock, Octagon, ServerCrash } from "lucide-react";
import { useMemo, useState, type ReactNode } from "react";
import { redriveJob, useCommand } from "../api/actions";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { Project } from "../api/types";
import { percent } from "../format";
import { t } from "../i18n/en";
import { Button, buttonClass } from "../ui/button";
import { InlineError, SkeletonRows } from "../ui/feedback";
import { Badge, Status } from "../ui/status";
import { Ago, useNow } from "../ui/time";
import { jobAlerts, projectAlerts, queueAlerts, runAlerts, staleWork, type Alert, type StaleItem } from "./alerts";
import { Section } from "./Section";
import { busiest } from "./selection";

/** Runs and stories are read per project: of so many at once, and of all on request. Budgets and imports come with the list. */
const WATCHED_PROJECTS = 8;
const RUN_STATES = ["stalled", "failed", "waiting"] as const;

/** What nobody asks about, but somebody should see. */
export function Watch({ projects: all }: { projects: Project[] }) {
  const now = useNow();
  const [unbound, setUnbound] = useState(false);
  const projects = useMemo(() => (unbound ? all : busiest(all, WATCHED_PROJECTS)), [all, unbound]);
  const runs = useQueries({ queries: projects.flatMap((project) => RUN_STATES.map((state) => queries.runsIn(project.id, state))) });
  const stories = useQueries({ queries: projects.map((project) => queries.stories(project.id)) });
  const jobs = useQuery(queries.deadJobs());
  const system = useQuery(queries.system());
  const alerts = useMemo(() => {
    const perProject = projects.flatMap((project, index) => runAlerts(project, RUN_STATES.flatMap((_, offset) => runs[index * RUN_STATES.length + offset]?.data ?? []), now));
    return [...projectAlerts(all), ...queueAlerts(system.data), ...perProject, ...jobAlerts(jobs.data ?? [])];
  }, [all, projects, runs, jobs.data, system.data, now]);
  const stale = projects.flatMap((project, index) => staleWork(project, stories[index]?.data ?? [], now));
  const more = projects.length < all.length ? <><span className="text-xs text-soft">{t.inbox.watched(projects.length, all.length)}</span><Button onClick={() => setUnbound(true)}>{t.inbox.watchAll}</Button></> : null;
  return (
    <>
      <Listed title={t.inbox.alerts} none={t.inbox.noAlerts} icon={<Bell size={15} />} sources={[...runs, jobs, system]} count={alerts.length} tools={more}>
        {alerts.map((alert) => <AlertRow key={alert.key} alert={alert} />)}
      </Listed>
      <Listed title={t.inbox.stale} none={t.inbox.noStale} icon={<Clock size={15} />} sources={stories} count={stale.length}>
        {stale.map((item) => <StaleRow key={item.story.id} item={item} />)}
      </Listed>
    </>
  );
}

interface Source {
  isPending: boolean;
  isError: boolean;
  error: unknown;
  refetch: () => Promise<unknown>;
}

/** "None" is said only when everything was read. */
function Listed({ title, none, icon, sources, count, tools, children }: { title: string; none: string; icon: ReactNode; sources: Source[]; count: number; tools?: ReactNode; children: ReactNode[] }) {
  const failed = sources.filter((source) => source.isError);
  const loading = sources.some((source) => source.isPending);
  const empty = count === 0 && !loading && failed.length === 0;
  return (
    <Section title={title} count={count} icon={icon} tools={tools} empty={empty ? none : undefined}>
      {failed.length > 0 ? <div className="p-2"><InlineError error={failed[0]?.error} onRetry={() => { for (const source of failed) void source.refetch(); }} /></div> : null}
      {count > 0 ? <ul>{children}</ul> : loading ? <SkeletonRows rows={2} className="p-4" /> : null}
    </Section>
  );
}

const ROW = "flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-line px-4 py-2.5 last:border-b-0";

function AlertRow({ alert }: { alert: Alert }) {
  const redrive = useCommand<string>({ send: (id, key) => redriveJob(id, "", key), refresh: () => [keys.jobs()], done: t.common.saved });
  if (alert.kind === "budget") {
    return (
      <li className={ROW}>
        <CircleDollarSign size={16} aria-hidden="true" className={alert.fraction >= 1 ? "text-bad" : "text-warn"} />
        <span className="font-medium">{t.inbox.budgetAlert(alert.project.name, percent(alert.fraction))}</span>
        <span className="text-soft">{t.inbox.budgetDetail}</span>
        <Link to="/projects/$projectId/settings" params={{ projectId: alert.project.id }} search={{ tab: "budget" }} className={buttonClass("outline", "sm", "ml-auto")}>{t.inbox.raise}</Link>
      </li>
    );
  }
  if (alert.kind === "import_failed") {
    return (
      <li className={ROW}>
        <Octagon size={16} aria-hidden="true" className="text-bad" />
        <span className="font-medium">{t.inbox.importFailed(alert.project.name)}</span>
        <span className="min-w-0 flex-1 truncate text-soft">{alert.project.repository.detail}</span>
        <Link to="/projects/$projectId/settings" params={{ projectId: alert.project.id }} className={buttonClass("outline", "sm", "ml-auto")}>{t.inbox.look}</Link>
      </li>
    );
  }
  if (alert.kind === "run") {
    const title = { stalled: t.inbox.stalledAlert, failed: t.inbox.failedAlert, parked: t.inbox.parkedAlert }[alert.state](alert.run.agent.name);
    return (
      <li className={ROW}>
        <Octagon size={16} aria-hidden="true" className={alert.state === "parked" ? "text-warn" : "text-bad"} />
        <span className="font-medium">{title}</span>
        <Badge>{alert.project.name}</Badge>
        <span className="min-w-0 flex-1 truncate text-soft">{alert.run.reason ?? alert.run.waiting?.detail ?? ""}</span>
        <Ago at={alert.run.ended_at ?? alert.run.started_at} className="text-soft" />
        <Link to="/projects/$projectId/runs/$runId" params={{ projectId: alert.project.id, runId: alert.run.id }} className={buttonClass("outline")}>{t.inbox.look}</Link>
      </li>
    );
  }
  if (alert.kind === "queue") {
    return (
      <li className={ROW}>
        <ServerCrash size={16} aria-hidden="true" className="text-warn" />
        <span className="font-medium">{t.inbox.queueAlert(alert.queue)}</span>
        <span className="text-soft">{t.inbox.queueDetail(alert.depth)}</span>
      </li>
    );
  }
  return (
    <li className={ROW}>
      <ServerCrash size={16} aria-hidden="true" className="text-bad" />
      <span className="font-medium">{t.inbox.deadLetter(alert.job.queue)}</span>
      <span className="min-w-0 flex-1 truncate text-soft">{alert.job.last_error ?? alert.job.kind}</span>
      <Button busy={redrive.isPending} onClick={() => redrive.mutate(alert.job.id)}>{t.inbox.redrive}</Button>
    </li>
  );
}

function StaleRow({ item }: { item: StaleItem }) {
  const { story, project, why } = item;
  const label = { blocked: t.inbox.blockedSince, overdue: t.inbox.overdue, idle: t.inbox.idle }[why];
  return (
    <li className={ROW}>
      <Status value={story.phase} />
      <Link to="/projects/$projectId/stories/$storyId" params={{ projectId: project.id, storyId: story.id }} className="font-medium hover:underline">#{story.number} {story.title}</Link>
      <span className="text-soft">{project.name}</span>
      <span className="min-w-0 flex-1 truncate text-soft">{story.blocked_reason ?? story.waiting_for}</span>
      <Badge tone="warn">{label}</Badge>
      <Ago at={story.updated_at} className="text-soft" />
    </li>
  );
}
