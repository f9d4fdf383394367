import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { CircleCheck, Hand, Hourglass, Play } from "lucide-react";
import { useState } from "react";
import { ApiError } from "../api/client";
import * as queries from "../api/queries";
import type { Project, Story } from "../api/types";
import { storyActions, useStoryCommand } from "../board/commands";
import { StoryCommandDialog, type Asking } from "../board/dialogs";
import { queueAlerts } from "../inbox/alerts";
import { shortHash } from "../format";
import { t } from "../i18n/en";
import { Missing } from "../shell/fallbacks";
import { can } from "../shell/project";
import { Conversation } from "../story/Conversation";
import { ownerName, waitingText } from "../story/owner";
import { PhaseStepper } from "../story/PhaseStepper";
import { Timeline } from "../story/Timeline";
import { Changes, History, Tests } from "../story/panels";
import { Button, buttonClass } from "../ui/button";
import { ActorIcon, Cost } from "../ui/entity";
import { Loaded, Notice, SkeletonRows } from "../ui/feedback";
import { Menu } from "../ui/menu";
import { Prose } from "../ui/prose";
import { Badge, Status } from "../ui/status";
import { Tabs } from "../ui/tabs";
import { Deadline } from "../ui/time";

const TABS = ["timeline", "conversation", "changes", "tests", "history"] as const;
type TabKey = (typeof TABS)[number];

export function StoryPage() {
  const { projectId, storyId } = useParams({ from: "/app/projects/$projectId/stories/$storyId" });
  const story = useQuery(queries.story(projectId, storyId));
  const project = useQuery(queries.project(projectId));
  if (story.error instanceof ApiError && story.error.status === 404) return <Missing />;
  return <Loaded query={story} skeleton={<SkeletonRows rows={10} className="p-6" />}>{(data) => <StoryView story={data} project={project.data} />}</Loaded>;
}

function StoryView({ story, project }: { story: Story; project: Project | undefined }) {
  const search = useSearch({ from: "/app/projects/$projectId/stories/$storyId" });
  const navigate = useNavigate({ from: "/projects/$projectId/stories/$storyId" });
  const tab: TabKey = TABS.find((key) => key === search.tab) ?? "timeline";
  const version = search.version ? Number(search.version) : null;
  const mayWrite = can(project?.role, "write");
  const tests = useQuery(queries.storyTests(story.project_id, story.id));
  return (
    <div>
      <StoryHeader story={story} mayWrite={mayWrite} />
      <Tabs
        padded
        label={t.story.tabsLabel}
        value={tab}
        onChange={(key) => void navigate({ search: key === "timeline" ? {} : { tab: key }, replace: true })}
        tabs={[
          { key: "timeline", label: t.story.tabs.timeline, content: () => <Timeline story={story} mayWrite={mayWrite} /> },
          { key: "conversation", label: t.story.tabs.conversation, content: () => <Conversation story={story} mayWrite={mayWrite} /> },
          { key: "changes", label: t.story.tabs.changes, content: () => <Changes story={story} /> },
          { key: "tests", label: t.story.tabs.tests, count: tests.data?.length, content: () => <Tests story={story} /> },
          { key: "history", label: t.story.tabs.history, content: () => <History story={story} version={version} onVersion={(next) => void navigate({ search: next === null ? { tab: "history" } : { tab: "history", version: String(next) }, replace: true })} /> },
        ]}
      />
    </div>
  );
}

function StoryHeader({ story, mayWrite }: { story: Story; mayWrite: boolean }) {
  const [asking, setAsking] = useState<Asking | null>(null);
  const command = useStoryCommand(story.project_id);
  const system = useQuery(queries.system());
  const stuck = queueAlerts(system.data);
  const over = story.phase === "done" || story.phase === "cancelled";
  const working = story.started && !over;
  return (
    <header className="border-b-0 px-3 pt-4 pb-3 md:px-5">
      <div className="flex flex-wrap items-start gap-x-3 gap-y-2">
        <h1 className="min-w-0 flex-1 text-lg leading-6 font-semibold"><span className="font-normal text-faint">#{story.number}</span> {story.title}</h1>
        <div className="flex shrink-0 items-center gap-1.5">
          {story.approval_id ? (
            <Link to="/projects/$projectId/approvals/$approvalId" params={{ projectId: story.project_id, approvalId: story.approval_id }} className={buttonClass("primary")}><Hand size={14} aria-hidden="true" />{t.story.waitingApproval}</Link>
          ) : null}
          {mayWrite && !story.started && story.phase !== "cancelled" ? <Button tone="primary" busy={command.isPending} onClick={() => command.mutate({ story, command: { name: "start" } })}><Play size={13} aria-hidden="true" />{t.story.start}</Button> : null}
          {mayWrite ? <Menu label={t.common.actions} items={storyActions(story, (input) => command.mutate({ story, command: input }), setAsking, false)} trigger={<Button>{t.common.actions}</Button>} /> : null}
        </div>
      </div>
      <div className="mt-3 flex flex-wrap items-center gap-x-5 gap-y-2">
        <PhaseStepper story={story} />
        {story.phase === "blocked" || story.phase === "cancelled" ? <Status value={story.phase} /> : null}
        {story.round > 1 ? <Badge tone="warn">{t.story.round(story.round)}</Badge> : null}
      </div>
      {story.waiting_for ? (
        <p role="status" data-waiting className="mt-3 flex items-start gap-2 rounded-lg border border-line bg-panel px-3 py-2">
          {story.phase === "done" ? <CircleCheck size={15} aria-hidden="true" className="mt-0.5 shrink-0 text-ok" /> : <Hourglass size={15} aria-hidden="true" className="mt-0.5 shrink-0 text-faint" />}<span className="block first-letter:uppercase">{waitingText(story)}</span>
        </p>
      ) : null}
      {story.blocked_reason ? <div className="mt-2"><Notice tone="warn">{t.board.blocked(story.blocked_reason)}</Notice></div> : null}
      {working ? stuck.map((alert) => alert.kind === "queue" ? <div key={alert.key} className="mt-2"><Notice tone="bad">{t.story.noWorker(alert.queue)}</Notice></div> : null) : null}
      <dl className="mt-3 flex flex-wrap items-center gap-x-6 gap-y-1.5 text-soft">
        {over ? null : <Fact label={t.story.owner}><span className="flex items-center gap-1"><ActorIcon type={story.owner.kind} />{ownerName(story)}</span></Fact>}
        <Fact label={t.story.cost}><Cost real={story.cost_micro_usd} simulated={story.simulated_micro_usd} /></Fact>
        {story.points ? <Fact label={t.board.points}>{story.points}</Fact> : null}
        {story.deadline && working ? <Fact label={t.story.deadline}><Deadline at={story.deadline} /></Fact> : null}
        {story.branch ? <Fact label={t.story.branch}><code className="font-mono text-xs">{story.branch}</code></Fact> : null}
        {story.merge_commit ? <Fact label={t.story.merged}><code className="font-mono text-xs">{shortHash(story.merge_commit)}</code></Fact> : null}
      </dl>
      {story.description || story.design || story.acceptance_criteria.length > 0 ? (
        <details className="mt-3" open={!story.started}>
          <summary className="w-fit text-xs font-medium text-soft">{t.story.description}{story.acceptance_criteria.length > 0 ? ` · ${t.story.criteria} (${story.acceptance_criteria.length})` : ""}</summary>
          <Prose text={story.description} className="mt-1.5 max-w-prose" />
          {story.design ? <><h2 className="mt-2 text-xs font-medium text-soft">{t.story.design}</h2><Prose text={story.design} className="max-w-prose" /></> : null}
          {story.acceptance_criteria.length > 0 ? <ul className="mt-2 list-disc pl-4.5">{story.acceptance_criteria.map((text) => <li key={text}><Prose text={text} /></li>)}</ul> : null}
        </details>
      ) : null}
      <StoryCommandDialog asking={asking} onClose={() => setAsking(null)} onCommand={(target, input) => command.mutate({ story: target, command: input })} />
    </header>
  );
}

function Fact({ label, children }: { label: string; children: React.ReactNode }) {
  return (
    <div className="flex items-center gap-1.5"><dt>{label}</dt><dd className="text-ink">{children}</dd></div>
  );
}
