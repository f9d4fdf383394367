import { useQuery } from "@tanstack/react-query";
import { Outlet, useParams } from "@tanstack/react-router";
import { ApiError } from "../api/client";
import * as queries from "../api/queries";
import { Missing } from "../shell/fallbacks";
import { RepositoryNotice } from "../shell/RepositoryNotice";
import { InlineError, SkeletonRows } from "../ui/feedback";

/** What every page of a project shares: it exists, and its repository is usable. */
export function ProjectLayout() {
  const { projectId } = useParams({ from: "/app/projects/$projectId" });
  const project = useQuery(queries.project(projectId));
  if (project.error instanceof ApiError && project.error.status === 404) return <Missing />;
  if (!project.data) {
    if (project.isError) return <div className="mx-auto max-w-2xl p-6"><InlineError error={project.error} onRetry={() => void project.refetch()} /></div>;
    return <SkeletonRows rows={8} className="p-6" />;
  }
  return (
    <>
      <RepositoryNotice project={project.data} />
      <Outlet />
    </>
  );
}
