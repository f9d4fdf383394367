import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { FolderGit2, Plus } from "lucide-react";
import { useState, type FormEvent } from "react";
import { createOrganisation, createProject, useCommand } from "../api/actions";
import { ApiError } from "../api/client";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { Autonomy, Project } from "../api/types";
import { t } from "../i18n/en";
import { useShortcuts } from "../keyboard";
import { useStableKey } from "../stableKey";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { BudgetBar, Cost } from "../ui/entity";
import { EmptyState, InlineError, Loaded, SkeletonRows } from "../ui/feedback";
import { SelectField, TextField } from "../ui/form";
import { PageFrame } from "../ui/page";
import { Attention, Badge, Status, labelOf } from "../ui/status";

export function ProjectsPage() {
  const list = useQuery(queries.projects());
  const search = useSearch({ from: "/app/projects" });
  const navigate = useNavigate({ from: "/projects" });
  const show = (open: boolean) => void navigate({ search: open ? { new: "1" } : {}, replace: true });
  const create = <Button tone="primary" onClick={() => show(true)} hint="N"><Plus size={14} aria-hidden="true" />{t.projects.create}</Button>;
  useShortcuts([{ keys: "n", label: t.projects.create, group: t.groups.list, run: () => show(true) }]);
  return (
    <PageFrame title={t.projects.title} tools={create}>
      <Loaded query={list} skeleton={<SkeletonRows rows={4} />}>
        {(projects) => projects.length === 0 ? (
          <EmptyState icon={<FolderGit2 size={28} aria-hidden="true" />} title={t.projects.empty} detail={t.projects.emptyDetail} action={<Button tone="primary" onClick={() => show(true)}>{t.projects.create}</Button>} />
        ) : (
          <ul className="grid gap-3 md:grid-cols-2 xl:grid-cols-3">{projects.map((project) => <ProjectCard key={project.id} project={project} />)}</ul>
        )}
      </Loaded>
      <Dialog open={Boolean(search.new)} onClose={() => show(false)} title={t.projects.create}><ProjectForm onClose={() => show(false)} /></Dialog>
    </PageFrame>
  );
}

function ProjectCard({ project }: { project: Project }) {
  const { counts } = project;
  return (
    <li className="card relative flex flex-col gap-3 p-4 hover:border-line-strong">
      <div className="flex items-center gap-2">
        <h2 className="min-w-0 truncate text-md font-semibold"><Link to="/projects/$projectId" params={{ projectId: project.id }} className="after:absolute after:inset-0 hover:underline">{project.name}</Link></h2>
        {project.repository.state === "ready" ? null : <Status value={project.repository.state} />}
        <Badge className="ml-auto">{labelOf(project.autonomy)}</Badge>
      </div>
      <p className="flex flex-wrap items-center gap-x-3 text-soft">
        {counts.approvals_pending > 0 ? <Link to="/inbox" search={{ project: project.id }} className="relative z-1 hover:brightness-110"><Attention>{t.projects.approvals(counts.approvals_pending)}</Attention></Link> : null}
        <span>{t.projects.stories(counts.stories_open)}</span>
        <span>{t.projects.agents(counts.agents)}</span>
      </p>
      <div className="mt-auto">
        {project.budget?.hard_limit_micro_usd ? <BudgetBar budget={project.budget} label={`${t.cost.budget}: ${project.name}`} /> : <p className="text-xs text-soft"><Cost real={project.spent_micro_usd} simulated={project.simulated_micro_usd} /> · {t.cost.noLimit}</p>}
      </div>
    </li>
  );
}

const SOURCES = ["empty", "path", "url"] as const;
const LEVELS: Autonomy[] = ["full_control", "milestone", "autonomous"];

function ProjectForm({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const me = useQuery(queries.me());
  const organisations = me.data?.organisations ?? [];
  const [form, setForm] = useState({ name: "", organisation: "", newOrganisation: "", source: "empty" as (typeof SOURCES)[number], location: "", test: "", autonomy: "milestone" as Autonomy });
  const key = useStableKey();
  const organisationKey = useStableKey();
  // An organisation that is made once stays: a second try puts the project into it.
  const [made, setMade] = useState<string | null>(null);
  const create = useCommand<void, Project>({
    send: async () => {
      let organisation = form.organisation || organisations[0]?.id || made;
      if (!organisation) {
        organisation = (await createOrganisation(form.newOrganisation.trim(), organisationKey.for(form.newOrganisation.trim()))).id;
        setMade(organisation);
      }
      const body = {
        organisation_id: organisation, name: form.name.trim(), autonomy: form.autonomy,
        repository: form.source === "empty" ? { source: "empty" as const } : { source: form.source, location: form.location.trim() },
        ...(form.test.trim() ? { test_command: form.test.trim() } : {}),
      };
      return createProject(body, key.for(body));
    },
    refresh: () => [keys.projects(), keys.me()],
    done: (_input, project) => t.projects.created(project.name),
    quietFields: true,
    onSuccess: (project) => void navigate({ to: "/projects/$projectId", params: { projectId: project.id } }),
  });
  const error = create.error instanceof ApiError ? create.error : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate();
  };
  return (
    <form className="flex flex-col gap-3.5" onSubmit={submit}>
      {create.isError && !error?.body.errors?.length ? <InlineError error={create.error} /> : null}
      <TextField label={t.projects.name} data-autofocus required maxLength={100} value={form.name} error={error?.field("name")} onChange={(event) => setForm({ ...form, name: event.target.value })} />
      {organisations.length > 1 ? (
        <SelectField label={t.projects.organisation} value={form.organisation || organisations[0]?.id} onChange={(event) => setForm({ ...form, organisation: event.target.value })}>
          {organisations.map((item) => <option key={item.id} value={item.id}>{item.name}</option>)}
        </SelectField>
      ) : me.data && organisations.length === 0 && made === null ? (
        <TextField label={t.projects.newOrganisation} required value={form.newOrganisation} onChange={(event) => setForm({ ...form, newOrganisation: event.target.value })} />
      ) : null}
      <SelectField label={t.projects.repository} value={form.source} onChange={(event) => setForm({ ...form, source: event.target.value as typeof form.source })}>
        {SOURCES.map((source) => <option key={source} value={source}>{t.projects.sources[source]}</option>)}
      </SelectField>
      {form.source === "empty" ? null : (
        <TextField label={t.projects.location} required help={t.projects.locationHelp[form.source]} value={form.location} error={error?.field("repository.location") ?? error?.field("location")} onChange={(event) => setForm({ ...form, location: event.target.value })} />
      )}
      <TextField label={t.projects.testCommand} help={t.projects.testCommandHelp} value={form.test} error={error?.field("test_command")} onChange={(event) => setForm({ ...form, test: event.target.value })} />
      <SelectField label={t.projects.autonomy} help={t.projects.autonomyHelp[form.autonomy]} value={form.autonomy} onChange={(event) => setForm({ ...form, autonomy: event.target.value as Autonomy })}>
        {LEVELS.map((level) => <option key={level} value={level}>{labelOf(level)}</option>)}
      </SelectField>
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onClose}>{t.common.cancel}</Button>
        <Button size="md" tone="primary" type="submit" busy={create.isPending}>{t.common.create}</Button>
      </div>
    </form>
  );
}
