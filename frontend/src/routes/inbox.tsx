import { useQueries, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Bell, CircleDollarSign, Clock, Inbox as InboxIcon, Octagon, ServerCrash } from "lucide-react";
import { useMemo, useState, type ReactNode } from "react";
import { redriveJob, sendDecision, useCommand, useDecision } from "../api/actions";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { Approval, Outcome, Project } from "../api/types";
import { percent } from "../format";
import { t } from "../i18n/en";
import { ApprovalRow } from "../inbox/ApprovalRow";
import { jobAlerts, projectAlerts, queueAlerts, runAlerts, staleWork, type Alert, type StaleItem } from "../inbox/alerts";
import { bulkSplit, inOrder, matching, moved, toggled } from "../inbox/selection";
import { useShortcuts } from "../keyboard";
import { can } from "../shell/project";
import { Button, buttonClass } from "../ui/button";
import { EmptyState, Loaded, SkeletonRows } from "../ui/feedback";
import { FilterSelect } from "../ui/form";
import { Badge, Status, labelOf } from "../ui/status";
import { Ago, useNow } from "../ui/time";
import { toast, toastError } from "../ui/toast";

/** Alerts are gathered per project; more projects than this are watched from their own pages. */
const WATCHED_PROJECTS = 8;

export function InboxPage() {
  const search = useSearch({ from: "/app/inbox" });
  const show = search.show === "decided" ? "decided" : "pending";
  const list = useQuery(queries.approvals(show));
  const projects = useQuery(queries.projects());
  return (
    <div className="mx-auto w-full max-w-5xl pb-24">
      <h1 className="sr-only">{t.inbox.title}</h1>
      <Loaded query={list} skeleton={<SkeletonRows rows={6} className="p-5" />}>
        {(page) => <Approvals items={inOrder(matching(page.items, search))} total={page.items.length} unresolved={page.unresolved} projects={projects.data ?? []} />}
      </Loaded>
      {projects.data ? <Watch projects={projects.data.slice(0, WATCHED_PROJECTS)} /> : null}
    </div>
  );
}

function Section({ title, count, icon, children, tools }: { title: string; count?: number | undefined; icon: ReactNode; children: ReactNode; tools?: ReactNode }) {
  return (
    <section aria-label={title} className="mt-5 px-3 first-of-type:mt-3 md:px-5">
      <div className="mb-2 flex min-h-7 flex-wrap items-center gap-2">
        <span aria-hidden="true" className="text-faint">{icon}</span>
        <h2 className="text-[13.5px] font-semibold">{title}</h2>
        {count === undefined ? null : <span className="rounded-full bg-raised px-1.5 text-2xs text-soft tabular">{count}</span>}
        <div className="ml-auto flex flex-wrap items-center gap-1.5">{tools}</div>
      </div>
      <div className="card overflow-hidden">{children}</div>
    </section>
  );
}

function Filters({ projects }: { projects: Project[] }) {
  const search = useSearch({ from: "/app/inbox" });
  const navigate = useNavigate({ from: "/inbox" });
  const set = (name: "lane" | "category" | "project" | "show") => (value: string) =>
    void navigate({ search: (known) => ({ ...known, [name]: value || undefined }), replace: true });
  const options = (values: string[], all: string) => [{ value: "", label: all }, ...values.map((value) => ({ value, label: labelOf(value) }))];
  return (
    <>
      <FilterSelect label={t.inbox.show} value={search.show ?? ""} onChange={set("show")} options={[{ value: "", label: t.inbox.pending }, { value: "decided", label: t.inbox.decided }]} />
      <FilterSelect label={t.inbox.lane} value={search.lane ?? ""} onChange={set("lane")} options={options(["critical", "milestone", "routine"], `${t.inbox.lane}: ${t.common.all}`)} />
      <FilterSelect label={t.inbox.category} value={search.category ?? ""} onChange={set("category")} options={options(["critical", "milestone", "routine", "uncertainty", "expertise"], `${t.inbox.category}: ${t.common.all}`)} />
      {projects.length > 1 ? <FilterSelect label={t.inbox.project} value={search.project ?? ""} onChange={set("project")} options={[{ value: "", label: `${t.inbox.project}: ${t.common.all}` }, ...projects.map((item) => ({ value: item.id, label: item.name }))]} /> : null}
    </>
  );
}

function Approvals({ items, total, unresolved, projects }: { items: Approval[]; total: number; unresolved: number; projects: Project[] }) {
  const navigate = useNavigate({ from: "/inbox" });
  const search = useSearch({ from: "/app/inbox" });
  const [cursor, setCursor] = useState<string | null>(null);
  const [answer, setAnswer] = useState<{ id: string; outcome: Outcome } | null>(null);
  const [selection, setSelection] = useState<ReadonlySet<string>>(new Set());
  const decision = useDecision();
  const roles = new Map(projects.map((project) => [project.id, project.role]));
  const may = (item: Approval) => !roles.has(item.project_id) || can(roles.get(item.project_id), "decide");
  const ids = items.map((item) => item.id);
  const current = items.find((item) => item.id === cursor) ?? null;
  const selected = items.filter((item) => selection.has(item.id) && item.state === "pending");

  const open = (outcome: Outcome | null, item: Approval | null = current) => {
    if (item && item.state === "pending" && may(item)) setAnswer(outcome === null ? null : { id: item.id, outcome });
  };
  const send = (item: Approval) => (outcome: Outcome, note: string) => {
    const next = moved(ids.filter((id) => id !== item.id), null, 1);
    const index = ids.indexOf(item.id);
    setAnswer(null);
    setCursor(ids[index + 1] ?? ids[index - 1] ?? next);
    decision.mutate({ approval: item, outcome, note }, { onError: () => setCursor(item.id) });
  };
  const key = (keyName: string, label: string, run: () => void) => ({ keys: keyName, label, group: t.groups.inbox, run });
  const step = (by: 1 | -1) => () => { setCursor(moved(ids, cursor, by)); setAnswer(null); };
  const openDetail = () => void (current && navigate({ to: "/projects/$projectId/approvals/$approvalId", params: { projectId: current.project_id, approvalId: current.id } }));
  const bulk = useBulkApprove(() => setSelection(new Set()));
  useShortcuts([
    key("j", t.keys.next, step(1)),
    key("k", t.keys.previous, step(-1)),
    key("enter", t.keys.open, openDetail),
    key("o", t.keys.open, openDetail),
    key("a", t.keys.approve, () => open("approved")),
    key("c", t.keys.changes, () => open("changes_requested")),
    key("d", t.keys.reject, () => open("rejected")),
    key("x", t.keys.select, () => current && setSelection(toggled(selection, current.id))),
    key("shift+a", t.keys.approveSelected, () => void (selected.length > 0 && bulk.run(selected, ""))),
  ]);
  const filtered = Boolean(search.lane || search.category || search.project || search.show);
  return (
    <Section title={t.inbox.approvals} count={search.show === "decided" ? total : unresolved} icon={<InboxIcon size={15} />} tools={<Filters projects={projects} />}>
      {selected.length > 0 || bulk.progress ? (
        <BulkBar selected={selected} matching={items.filter((item) => item.state === "pending")} progress={bulk.progress} onAll={(all) => setSelection(new Set(all.map((item) => item.id)))} onClear={() => setSelection(new Set())} onApprove={(note) => void bulk.run(selected, note)} />
      ) : null}
      {items.length === 0 ? (
        filtered ? (
          <EmptyState title={t.inbox.filteredEmpty} action={<Button onClick={() => void navigate({ search: {} })}>{t.common.clearFilters}</Button>} />
        ) : (
          <EmptyState icon={<InboxIcon size={28} aria-hidden="true" />} title={t.inbox.empty} detail={t.inbox.emptyDetail} action={<Link to="/projects" className={buttonClass("primary")}>{t.inbox.emptyAction}</Link>} />
        )
      ) : (
        <ul aria-label={t.inbox.approvals}>
          {items.map((item) => (
            <ApprovalRow
              key={item.id}
              item={item}
              current={item.id === cursor}
              selected={selection.has(item.id)}
              answering={answer?.id === item.id ? answer.outcome : null}
              busy={decision.isPending}
              mayDecide={may(item)}
              onFocus={() => setCursor(item.id)}
              onSelect={() => setSelection(toggled(selection, item.id))}
              onAnswer={(outcome) => { setCursor(item.id); open(outcome, item); }}
              onSend={send(item)}
            />
          ))}
        </ul>
      )}
    </Section>
  );
}

/** Decides one by one, so that every item has its own entry and its own refusal. */
function useBulkApprove(onDone: () => void) {
  const client = useQueryClient();
  const [progress, setProgress] = useState<{ done: number; all: number } | null>(null);
  const run = async (items: Approval[], note: string) => {
    const { allowed, refused } = bulkSplit(items);
    if (refused.length > 0) toast(t.inbox.bulkRefused(refused.length), { tone: "bad", detail: refused.map((item) => item.title).join(" · ") });
    if (allowed.length === 0) return;
    const failed: Approval[] = [];
    let lastError: unknown = null;
    for (const [index, approval] of allowed.entries()) {
      setProgress({ done: index, all: allowed.length });
      try {
        await sendDecision({ approval, outcome: "approved", note });
      } catch (error) {
        failed.push(approval);
        lastError = error;
      }
    }
    setProgress(null);
    onDone();
    void client.invalidateQueries({ queryKey: keys.approvals() });
    if (allowed.length > failed.length) toast(t.inbox.bulkDone(allowed.length - failed.length));
    if (failed.length > 0) toastError(lastError, t.inbox.bulkFailed(failed.length));
  };
  return { run, progress };
}

function BulkBar({ selected, matching: all, progress, onAll, onClear, onApprove }: {
  selected: Approval[]; matching: Approval[]; progress: { done: number; all: number } | null; onAll: (items: Approval[]) => void; onClear: () => void; onApprove: (note: string) => void;
}) {
  const [note, setNote] = useState("");
  return (
    <div role="region" aria-label={t.inbox.selected(selected.length)} className="flex flex-wrap items-center gap-2 border-b border-line bg-accent-wash px-4 py-2 md:px-5">
      <span className="font-medium text-accent">{t.inbox.selected(selected.length)}</span>
      {selected.length < all.length ? <Button tone="ghost" onClick={() => onAll(all)}>{t.inbox.selectMatching(all.length)}</Button> : null}
      <Button tone="ghost" onClick={onClear}>{t.inbox.clearSelection}</Button>
      <input aria-label={t.inbox.bulkReason} placeholder={t.inbox.bulkReason} value={note} onChange={(event) => setNote(event.target.value)} className="field h-7 min-w-40 flex-1" />
      <Button tone="ok" busy={progress !== null} onClick={() => onApprove(note)} hint="⇧A">{t.inbox.approveSelected(selected.length)}</Button>
      {progress ? <span role="status" className="text-soft">{t.inbox.bulkProgress(progress.done, progress.all)}</span> : null}
    </div>
  );
}

function Watch({ projects }: { projects: Project[] }) {
  const now = useNow();
  const runs = useQueries({ queries: projects.flatMap((project) => ["stalled", "failed", "waiting"].map((state) => queries.runsIn(project.id, state))) });
  const stories = useQueries({ queries: projects.map((project) => queries.stories(project.id)) });
  const jobs = useQuery(queries.deadJobs());
  const system = useQuery(queries.system());
  const alerts = useMemo(() => {
    const perProject = projects.flatMap((project, index) => runAlerts(project, [0, 1, 2].flatMap((offset) => runs[index * 3 + offset]?.data ?? []), now));
    return [...projectAlerts(projects), ...queueAlerts(system.data), ...perProject, ...jobAlerts(jobs.data ?? [])];
  }, [projects, runs, jobs.data, system.data, now]);
  const stale = projects.flatMap((project, index) => staleWork(project, stories[index]?.data ?? [], now));
  return (
    <>
      <Section title={t.inbox.alerts} count={alerts.length} icon={<Bell size={15} />}>
        {alerts.length === 0 ? <p className="px-5 py-4 text-soft">{t.inbox.noAlerts}</p> : <ul>{alerts.map((alert) => <AlertRow key={alert.key} alert={alert} />)}</ul>}
      </Section>
      <Section title={t.inbox.stale} count={stale.length} icon={<Clock size={15} />}>
        {stale.length === 0 ? <p className="px-5 py-4 text-soft">{t.inbox.noStale}</p> : <ul>{stale.map((item) => <StaleRow key={item.story.id} item={item} />)}</ul>}
      </Section>
    </>
  );
}

const ROW = "flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-line px-4 py-2.5 last:border-b-0 md:px-5";

function AlertRow({ alert }: { alert: Alert }) {
  const redrive = useCommand<string>({ send: redriveJob, refresh: () => [keys.jobs()], done: t.common.saved });
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
    <li className={clsx(ROW)}>
      <Status value={story.phase} />
      <Link to="/projects/$projectId/stories/$storyId" params={{ projectId: project.id, storyId: story.id }} className="font-medium hover:underline">#{story.number} {story.title}</Link>
      <span className="text-soft">{project.name}</span>
      <span className="min-w-0 flex-1 truncate text-soft">{story.blocked_reason ?? story.waiting_for}</span>
      <Badge tone="warn">{label}</Badge>
      <Ago at={story.updated_at} className="text-soft" />
    </li>
  );
}
