import { useQuery } from "@tanstack/react-query";
import { Link, useLocation, useParams } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { Fragment } from "react";
import * as queries from "../api/queries";
import { t } from "../i18n/en";
import { labelOf } from "../ui/status";

/** The way to this page, from the outside in. The last one is the page itself. */
export interface Crumb {
  label: string;
  to?: { page: "projects" } | { page: "project"; projectId: string } | { page: "story"; projectId: string; storyId: string };
  /** What the page is called in the title of the window, where that is more than its crumb. */
  title?: string | undefined;
}

const SECTIONS: Record<string, string> = {
  agents: t.nav.agents, costs: t.nav.costs, gateway: t.nav.gateway, activity: t.nav.activity, audit: t.nav.audit, settings: t.nav.settings,
};

export function useCrumbs(): Crumb[] {
  const { pathname } = useLocation();
  const { projectId, storyId, runId, approvalId } = useParams({ strict: false });
  const project = useQuery({ ...queries.project(projectId ?? ""), enabled: Boolean(projectId) });
  const run = useQuery({ ...queries.run(projectId ?? "", runId ?? ""), enabled: Boolean(projectId && runId) });
  const inStory = storyId ?? run.data?.story_id;
  const story = useQuery({ ...queries.story(projectId ?? "", inStory ?? ""), enabled: Boolean(projectId && inStory) });
  const approval = useQuery({ ...queries.approval(projectId ?? "", approvalId ?? ""), enabled: Boolean(projectId && approvalId) });
  const [first, , page] = pathname.split("/").filter(Boolean);
  if (first === "inbox") return [{ label: t.nav.inbox }];
  if (first === "approvals") return [{ label: t.approval.title }];
  if (first === "costs") return [{ label: t.costs.allTitle }];
  if (first === "models") return [{ label: t.models.title }];
  if (first === "jobs") return [{ label: t.nav.jobs }];
  if (first !== "projects") return [];
  if (!projectId) return [{ label: t.nav.projects }];
  const crumbs: Crumb[] = [{ label: t.nav.projects, to: { page: "projects" } }, { label: project.data?.name ?? t.nav.project, to: { page: "project", projectId }, title: page ? undefined : t.nav.board }];
  if (inStory) crumbs.push({ label: story.data ? `#${story.data.number} ${story.data.title}` : t.approval.story, to: { page: "story", projectId, storyId: inStory } });
  if (runId) crumbs.push({ label: run.data ? t.run.of(run.data.agent.name, labelOf(run.data.stage)) : t.run.title });
  if (approvalId) crumbs.push({ label: t.approval.title, title: approval.data?.title });
  const section = page ? SECTIONS[page] : undefined;
  if (section) crumbs.push({ label: section });
  return crumbs;
}

/** The title of the window: the page first, because tabs are cut at the end. */
export function titleOf(crumbs: Crumb[], unresolved: number): string {
  const last = crumbs.at(-1);
  const project = crumbs.find((crumb) => crumb.to?.page === "project");
  const name = [last?.title ?? last?.label, project?.label, t.product].filter(Boolean).join(" · ");
  return unresolved > 0 ? `(${unresolved}) ${name}` : name;
}

export function Breadcrumbs({ crumbs }: { crumbs: Crumb[] }) {
  const last = crumbs.length - 1;
  return (
    <nav aria-label={t.nav.breadcrumb} className="min-w-0">
      <ol className="flex min-w-0 items-center gap-1">
        {crumbs.map((crumb, index) => (
          <Fragment key={index}>
            {index > 0 ? <li aria-hidden="true" className={index === last ? "shrink-0 text-faint max-sm:hidden" : "shrink-0 text-faint max-lg:hidden"}><ChevronRight size={13} /></li> : null}
            <li aria-current={index === last ? "page" : undefined} className={index === last ? "truncate font-medium" : index === last - 1 ? "max-w-80 truncate text-soft max-sm:hidden" : "max-w-60 shrink-0 truncate text-soft max-lg:hidden"}>
              {index === last ? crumb.label : <CrumbLink crumb={crumb} />}
            </li>
          </Fragment>
        ))}
      </ol>
    </nav>
  );
}

function CrumbLink({ crumb: { label, to } }: { crumb: Crumb }) {
  const className = "hover:text-ink hover:underline";
  if (to?.page === "projects") return <Link to="/projects" className={className}>{label}</Link>;
  if (to?.page === "project") return <Link to="/projects/$projectId" params={{ projectId: to.projectId }} className={className}>{label}</Link>;
  if (to?.page === "story") return <Link to="/projects/$projectId/stories/$storyId" params={{ projectId: to.projectId, storyId: to.storyId }} className={className}>{label}</Link>;
  return <>{label}</>;
}
