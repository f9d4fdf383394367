import { useQuery } from "@tanstack/react-query";
import { Link, useLocation, useParams } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import { Fragment, type ReactNode } from "react";
import * as queries from "../api/queries";
import { t } from "../i18n/en";

const SECTIONS: Record<string, string> = {
  agents: t.nav.agents, costs: t.nav.costs, activity: t.nav.activity, audit: t.nav.audit, settings: t.nav.settings, runs: t.run.title, approvals: t.approval.title,
};

export function Breadcrumbs() {
  const { pathname } = useLocation();
  const params = useParams({ strict: false });
  const parts = pathname.split("/").filter(Boolean);
  const crumbs: ReactNode[] = [];
  if (parts[0] === "inbox") crumbs.push(t.nav.inbox);
  if (parts[0] === "approvals") crumbs.push(t.approval.title);
  if (parts[0] === "projects") {
    crumbs.push(params.projectId ? <Link to="/projects" className="hover:underline">{t.nav.projects}</Link> : t.nav.projects);
    if (params.projectId) crumbs.push(<ProjectCrumb id={params.projectId} last={parts.length === 2} />);
    if (params.projectId && params.storyId) crumbs.push(<StoryCrumb p={params.projectId} s={params.storyId} />);
    const section = SECTIONS[parts[2] ?? ""];
    if (section) crumbs.push(section);
  }
  return (
    <nav aria-label={t.nav.breadcrumb} className="min-w-0">
      <ol className="flex min-w-0 items-center gap-1">
        {crumbs.map((crumb, index) => (
          <Fragment key={index}>
            {index > 0 ? <li aria-hidden="true" className="shrink-0 text-faint max-sm:nth-[2]:hidden"><ChevronRight size={13} /></li> : null}
            <li aria-current={index === crumbs.length - 1 ? "page" : undefined} className={index === crumbs.length - 1 ? "truncate font-medium" : "shrink-0 text-soft max-sm:first:hidden"}>{crumb}</li>
          </Fragment>
        ))}
      </ol>
    </nav>
  );
}

function ProjectCrumb({ id, last }: { id: string; last: boolean }) {
  const project = useQuery(queries.project(id));
  const name = project.data?.name ?? t.nav.project;
  return last ? <>{name}</> : <Link to="/projects/$projectId" params={{ projectId: id }} className="hover:underline">{name}</Link>;
}

function StoryCrumb({ p, s }: { p: string; s: string }) {
  const story = useQuery(queries.story(p, s));
  return <>{story.data ? `#${story.data.number} ${story.data.title}` : t.approval.story}</>;
}
