import { useState, type FormEvent } from "react";
import { retryRepository, useCommand } from "../api/actions";
import { ApiError } from "../api/client";
import { keys } from "../api/keys";
import type { Project } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Notice } from "../ui/feedback";
import { can } from "./project";

/** A project without its code can do nothing: says why, and takes another address. */
export function RepositoryNotice({ project }: { project: Project }) {
  const { state, detail } = project.repository;
  if (state === "ready") return null;
  return (
    <div className="page pt-4">
      {state === "importing" ? <Notice tone="info">{t.projects.importing}</Notice> : (
        <Notice tone="bad">
          <p className="font-medium">{t.projects.importFailed}</p>
          {detail ? <p>{detail}</p> : null}
          {can(project.role, "administer") ? <RetryForm project={project} /> : null}
        </Notice>
      )}
    </div>
  );
}

function RetryForm({ project }: { project: Project }) {
  const known = project.repository.location ?? "";
  const [location, setLocation] = useState(known);
  const retry = useCommand<void, Project>({
    send: (_input, key) => retryRepository(project.id, location.trim() === known ? null : location.trim(), key),
    refresh: () => [keys.project(project.id), keys.projects()],
    quietFields: true,
  });
  const wrong = retry.error instanceof ApiError ? (retry.error.field("repository.location") ?? retry.error.field("location")) : undefined;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    retry.mutate();
  };
  return (
    <form className="mt-2 flex flex-wrap items-center gap-2" onSubmit={submit}>
      <input aria-label={t.projects.location} aria-invalid={wrong ? true : undefined} value={location} onChange={(event) => setLocation(event.target.value)} className="field h-7 max-w-md flex-1 font-mono text-xs" />
      <Button type="submit" busy={retry.isPending} disabled={location.trim() === ""}>{t.common.retry}</Button>
      {wrong ? <p className="w-full">{wrong}</p> : null}
    </form>
  );
}
