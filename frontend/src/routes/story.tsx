import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Bot, ChevronDown, CircleCheck, Hand, Hourglass, Play } from "lucide-react";
import { useState } from "react";
import { ApiError } from "../api/client";
import * as queries from "../api/queries";
import type { Project, Story } from "../api/types";
import { needsPerson } from "../board/columns";
import { possible, storyActions, useStoryCommand } from "../board/commands";
import { StoryCommandDialog, type Asking } from "../board/dialogs";
import { queueAlerts } from "../inbox/alerts";
import { percent, shortHash } from "../format";
import { t } from "../i18n/en";
import { BudgetWait } from "../run/BudgetWait";
import { WaitFacts } from "../run/WhyWaiting";
import { waitingSentence } from "../run/waiting";
import { Missing } from "../shell/fallbacks";
import { can } from "../shell/project";
import { Conversation } from "../story/Conversation";
import { ownerName, waitingText } from "../story/owner";
import { PhaseStepper } from "../story/PhaseStepper";
import { Timeline } from "../story/Timeline";
import { Changes, StoryHistory, Tests } from "../story/panels";
import { Button, buttonClass } from "../ui/button";
import { Disclosure } from "../ui/disclosure";
import { ActorIcon, Cost, Simulated } from "../ui/entity";
import { Loaded, Notice, SkeletonRows } from "../ui/feedback";
import { Menu } from "../ui/menu";
import { Prose } from "../ui/prose";
import { Badge, Status } from "../ui/status";
import { useMedia } from "../ui/media";
import { Tabs } from "../ui/tabs";
import { Deadline, useNow } from "../ui/time";

const TABS = ["timeline", "conversation", "changes", "tests", "history"] as const;
type TabKey = (typeof TABS)[number];

export function StoryPage() {
  const { projectId, storyId } = useParams({ from: "/app/projects/$projectId/stories/$storyId" });
  const story = useQuery(queries.story(projectId, storyId));
  const project = useQuery(queries.project(projectId));
  if (story.error instanceof ApiError && story.error.status === 404) return <Missing />;
  return <Loaded query={story} skeleton={<SkeletonRows rows={10} className="page py-6" />}>{(data) => <StoryView story={data} project={project.data} />}</Loaded>;
}

function StoryView({ story, project }: { story: Story; project: Project | undefined }) {
  const search = useSearch({ from: "/app/projects/$projectId/stories/$storyId" });
  const navigate = useNavigate({ from: "/projects/$projectId/stories/$storyId" });
  const tab: TabKey = TABS.find((key) => key === search.tab) ?? "timeline";
  const version = search.version ? Number(search.version) : null;
  const mayWrite = can(project?.role, "write");
  const tests = useQuery(queries.storyTests(story.project_id, story.id));
  const roomy = useMedia("(min-width: 80rem)");
  const wide = tab === "changes" || tab === "history";
  return (
    <div className="page pb-8">
      <StoryHeader story={story} mayWrite={mayWrite} mayDecide={can(project?.role, "decide")} />
      <div className={clsx("mt-4 grid items-start gap-x-8 gap-y-4", !wide && "xl:grid-cols-[minmax(0,1fr)_19rem]")}>
        {/* Beside the tabs where there is room; on a narrow screen it is read before them. */}
        <aside aria-label={t.story.details} className={clsx("min-w-0", wide ? "hidden" : "xl:order-last")}>{roomy ? <Details story={story} project={project} /> : <Disclosure summary={t.story.details} open={!story.started}><div className="pt-3"><Details story={story} project={project} /></div></Disclosure>}</aside>
        <div className="min-w-0">
          <Tabs
            label={t.story.tabsLabel}
            value={tab}
            onChange={(key) => void navigate({ search: key === "timeline" ? {} : { tab: key }, replace: true })}
            tabs={[
              { key: "timeline", label: t.story.tabs.timeline, content: () => <Timeline story={story} mayWrite={mayWrite} /> },
              { key: "conversation", label: t.story.tabs.conversation, content: () => <Conversation story={story} mayWrite={mayWrite} /> },
              { key: "changes", label: t.story.tabs.changes, content: () => <Changes story={story} /> },
              { key: "tests", label: t.story.tabs.tests, count: tests.data?.length, content: () => <Tests story={story} /> },
              { key: "history", label: t.story.tabs.history, content: () => <StoryHistory story={story} version={version} onVersion={(next) => void navigate({ search: next === null ? { tab: "history" } : { tab: "history", version: String(next) }, replace: true })} /> },
            ]}
          />
        </div>
      </div>
    </div>
  );
}

function StoryHeader({ story, mayWrite, mayDecide }: { story: Story; mayWrite: boolean; mayDecide: boolean }) {
  const [asking, setAsking] = useState<Asking | null>(null);
  const command = useStoryCommand(story.project_id);
  const system = useQuery(queries.system());
  const stuck = queueAlerts(system.data);
  const working = story.started && story.phase !== "done" && story.phase !== "cancelled";
  return (
    <header className="pt-5">
      <div className="flex flex-wrap items-start gap-x-3 gap-y-2">
        <h1 className="min-w-0 flex-1 basis-60 text-lg font-semibold break-words"><span className="font-normal text-faint">#{story.number}</span> {story.title}</h1>
        <div className="flex shrink-0 items-center gap-1.5">
          {mayWrite && possible(story).start ? <Button tone="primary" busy={command.isPending} onClick={() => command.mutate({ story, command: { name: "start" } })}><Play size={13} aria-hidden="true" />{t.story.start}</Button> : null}
          {mayWrite ? <Menu label={t.common.actions} items={storyActions(story, (input) => command.mutate({ story, command: input }), setAsking, false)} trigger={<Button>{t.common.actions}<ChevronDown size={13} aria-hidden="true" /></Button>} /> : null}
        </div>
      </div>
      <div className="mt-3 flex flex-wrap items-center gap-x-5 gap-y-2">
        <PhaseStepper story={story} />
        {story.phase === "blocked" || story.phase === "cancelled" ? <Status value={story.phase} /> : null}
        {story.round > 1 ? <Badge tone="warn">{t.story.round(story.round)}</Badge> : null}
      </div>
      <Waiting story={story} mayDecide={mayDecide} />
      {story.blocked_reason ? <div className="mt-2"><Notice tone="warn">{t.board.blocked(story.blocked_reason)}</Notice></div> : null}
      {working ? stuck.map((alert) => alert.kind === "queue" ? <div key={alert.key} className="mt-2"><Notice tone="bad">{t.story.noWorker(alert.queue)}</Notice></div> : null) : null}
      <StoryCommandDialog asking={asking} onClose={() => setAsking(null)} onCommand={(target, input) => command.mutate({ story: target, command: input })} />
    </header>
  );
}

/** One sentence on what the story waits for; warm, with its button, where that is a person. */
function Waiting({ story, mayDecide }: { story: Story; mayDecide: boolean }) {
  const now = useNow();
  const asks = needsPerson(story);
  const text = waitingText(story);
  if (!text && !asks) return null;
  const done = story.phase === "done";
  const Icon = asks ? Hand : done ? CircleCheck : story.run_id ? Bot : Hourglass;
  return (
    <div className={clsx("mt-4 flex flex-wrap items-center gap-x-3 gap-y-2 rounded-lg border px-3.5 py-2.5", asks ? "border-attention/40 bg-attention-wash" : done ? "border-ok/30 bg-ok-wash" : "border-line bg-panel")}>
      <p role="status" data-waiting className={clsx("flex min-w-0 flex-1 basis-60 items-start gap-2", asks && "text-attention")}>
        <Icon size={16} aria-hidden="true" className={clsx("mt-0.5 shrink-0", done ? "text-ok" : asks ? "" : "text-faint")} />
        <span className="min-w-0 break-words">{asks ? <strong className="font-semibold">{mayDecide ? t.board.needsYou : t.board.needsPerson}. </strong> : null}<span className="inline-block first-letter:uppercase">{text}</span></span>
      </p>
      {story.waiting ? <div data-why={story.waiting.on} className="order-last basis-full text-soft">{story.waiting.on === "agent" ? <p className="text-xs">{waitingSentence(story.waiting)}</p> : null}<WaitFacts waiting={story.waiting} now={now} />{story.waiting.on === "budget" && story.run_id ? <Raise key={story.waiting.since} story={story} runId={story.run_id} detail={story.waiting.detail} /> : null}</div> : null}
      {story.approval_id ? (
        <Link to="/projects/$projectId/approvals/$approvalId" params={{ projectId: story.project_id, approvalId: story.approval_id }} className={buttonClass("primary")}>{t.story.waitingApproval}</Link>
      ) : null}
    </div>
  );
}

/** The limits that hold the story's run up, to be raised here as on the run's page. */
function Raise({ story, runId, detail }: { story: Story; runId: string; detail: string }) {
  const run = useQuery(queries.run(story.project_id, runId));
  return run.data ? <div className="text-ink"><BudgetWait projectId={story.project_id} run={run.data} detail={detail} /></div> : null;
}

function Details({ story, project }: { story: Story; project: Project | undefined }) {
  const over = story.phase === "done" || story.phase === "cancelled";
  const limit = project?.budget?.hard_limit_micro_usd;
  const cost = story.cost_micro_usd + story.simulated_micro_usd;
  return (
    <div className="flex flex-col gap-5">
      <dl className="grid grid-cols-[6rem_minmax(0,1fr)] gap-x-3 gap-y-2">
        {over ? null : <Fact label={t.story.owner}>{needsPerson(story) ? <span className="flex items-center gap-1 text-attention"><Hand size={14} aria-hidden="true" />{t.board.person}</span> : <span className="flex items-center gap-1"><ActorIcon type={story.owner.kind} />{ownerName(story)}</span>}</Fact>}
        <Fact label={t.story.cost}>
          <Cost real={story.cost_micro_usd} simulated={story.simulated_micro_usd} />
          {story.cost_micro_usd > 0 && story.simulated_micro_usd > 0 ? <Simulated microUsd={story.simulated_micro_usd} className="block text-xs" /> : null}
          {limit ? <><progress className="bar mt-1.5" max={limit} value={Math.min(limit, cost)} aria-label={t.story.share(percent(cost / limit))} /><p className="mt-1 text-xs text-soft">{t.story.share(percent(cost / limit))}</p></> : null}
        </Fact>
        {story.points ? <Fact label={t.board.points}>{story.points}</Fact> : null}
        {story.deadline && story.started && !over ? <Fact label={t.story.deadline}><Deadline at={story.deadline} /></Fact> : null}
        {story.branch ? <Fact label={t.story.branch}><code className="font-mono text-xs break-all">{story.branch}</code></Fact> : null}
        {story.merge_commit ? <Fact label={t.story.merged}><code className="font-mono text-xs">{shortHash(story.merge_commit)}</code></Fact> : null}
      </dl>
      {story.description ? <Section title={t.story.description}><Prose text={story.description} /></Section> : null}
      {story.acceptance_criteria.length > 0 ? <Section title={`${t.story.criteria} (${story.acceptance_criteria.length})`}><ul className="flex list-disc flex-col gap-1 pl-4.5">{story.acceptance_criteria.map((text) => <li key={text}><Prose text={text} /></li>)}</ul></Section> : null}
      {story.design ? <Section title={t.story.design}><Prose text={story.design} /></Section> : null}
    </div>
  );
}

function Section({ title, children }: { title: string; children: React.ReactNode }) {
  return <Disclosure summary={title} open><div className="mt-1.5 max-w-prose text-soft">{children}</div></Disclosure>;
}

function Fact({ label, children }: { label: string; children: React.ReactNode }) {
  return <><dt className="text-soft">{label}</dt><dd className="min-w-0">{children}</dd></>;
}
