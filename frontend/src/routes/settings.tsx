import { useQuery } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { clsx } from "clsx";
import { useState, type FormEvent } from "react";
import { addMember, patchProject, putBudget, putPolicy, removeMember, useCommand } from "../api/actions";
import { ApiError } from "../api/client";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import { changeOf, formOf, type ProjectForm } from "../settings/change";
import type { Autonomy, Budget, Member, Policy, Project } from "../api/types";
import { parseMoney } from "../format";
import { t } from "../i18n/en";
import { can } from "../shell/project";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { BudgetBar } from "../ui/entity";
import { EmptyState, Loaded, Notice } from "../ui/feedback";
import { SelectField, TextField } from "../ui/form";
import { ACTIONS, ACTS, PageFrame, TableFrame } from "../ui/page";
import { Badge, Status, labelOf, toneOf } from "../ui/status";
import { Tabs } from "../ui/tabs";

const TABS = ["project", "policy", "budget", "members", "system"] as const;
const SECRETS = ["off", "report", "redact"] as const;
const LEVELS = ["full_control", "milestone", "autonomous"] as const;

export function SettingsPage() {
  const { projectId } = useParams({ from: "/app/projects/$projectId/settings" });
  const search = useSearch({ from: "/app/projects/$projectId/settings" });
  const navigate = useNavigate({ from: "/projects/$projectId/settings" });
  const project = useQuery(queries.project(projectId));
  const tab = TABS.find((key) => key === search.tab) ?? "project";
  return (
    <PageFrame title={t.settings.title}>
      <Loaded query={project}>
        {(data) => {
          const admin = can(data.role, "administer");
          return (
            <Tabs label={t.settings.title} value={tab} onChange={(key) => void navigate({ search: key === "project" ? {} : { tab: key }, replace: true })} tabs={[
              { key: "project", label: t.settings.tabs.project, content: () => <General key={data.id} project={data} admin={admin} /> },
              { key: "policy", label: t.settings.tabs.policy, content: () => <PolicyTab project={data} admin={admin} /> },
              { key: "budget", label: t.settings.tabs.budget, content: () => <BudgetTab project={data} admin={admin} /> },
              { key: "members", label: t.settings.tabs.members, content: () => <Members project={data} admin={admin} /> },
              { key: "system", label: t.settings.tabs.system, content: () => <System /> },
            ]} />
          );
        }}
      </Loaded>
    </PageFrame>
  );
}

function Panel({ admin, children }: { admin: boolean; children: React.ReactNode }) {
  return <div className="flex flex-col gap-3 pt-4">{admin ? null : <Notice tone="info">{t.settings.readOnly}</Notice>}{children}</div>;
}

function General({ project, admin }: { project: Project; admin: boolean }) {
  // Only what was changed here is kept and sent: what somebody else changes meanwhile stays theirs.
  const [draft, setDraft] = useState<ProjectForm>({});
  const form = { ...formOf(project), ...draft };
  const change = changeOf(project, draft);
  const save = useCommand<void, Project>({
    send: (_input, key) => patchProject(project.id, change, key),
    onSuccess: () => setDraft({}),
    refresh: () => [keys.project(project.id), keys.projects()],
    done: t.common.saved,
    quietFields: true,
  });
  const error = save.error instanceof ApiError ? save.error : null;
  return (
    <Panel admin={admin}>
      {project.test_command ? null : <Notice tone="warn">{t.settings.noTestCommand}</Notice>}
      <form className="card max-w-2xl p-4" onSubmit={(event: FormEvent) => { event.preventDefault(); save.mutate(); }}>
        <fieldset disabled={!admin} className="flex flex-col gap-3.5">
          <TextField label={t.projects.name} required value={form.name} error={error?.field("name")} onChange={(event) => setDraft({ ...draft, name: event.target.value })} />
          <SelectField label={t.projects.autonomy} help={t.projects.autonomyHelp[form.autonomy]} value={form.autonomy} onChange={(event) => setDraft({ ...draft, autonomy: event.target.value as Autonomy })}>
            {LEVELS.map((level) => <option key={level} value={level}>{labelOf(level)}</option>)}
          </SelectField>
          <TextField label={t.settings.threshold} help={t.settings.thresholdHelp} type="number" min={0} max={1} step={0.01} value={form.threshold} error={error?.field("confidence_threshold")} onChange={(event) => setDraft({ ...draft, threshold: event.target.value })} />
          <TextField label={t.projects.testCommand} help={t.projects.testCommandHelp} value={form.test} error={error?.field("test_command")} onChange={(event) => setDraft({ ...draft, test: event.target.value })} className="font-mono text-xs" />
          <SelectField label={t.models.secrets} help={t.models.secretsHelp[form.secrets]} value={form.secrets} onChange={(event) => setDraft({ ...draft, secrets: event.target.value as Project["secrets_in_prompts"] })}>
            {SECRETS.map((mode) => <option key={mode} value={mode}>{t.models.secretsNames[mode]}</option>)}
          </SelectField>
          <TextField label={t.settings.cache} help={t.settings.cacheHelp} type="number" min={1} max={604_800} step={1} value={form.cache} error={error?.field("gateway_cache_seconds")} onChange={(event) => setDraft({ ...draft, cache: event.target.value })} />
          <dl className="grid grid-cols-[9rem_minmax(0,1fr)] gap-y-1 text-soft">
            <dt>{t.settings.repository}</dt><dd className="flex flex-wrap items-center gap-2"><Status value={project.repository.state} /><span className="font-mono text-xs break-all">{project.repository.location}</span></dd>
            <dt>{t.settings.branch}</dt><dd className="font-mono text-xs">{project.default_branch}</dd>
          </dl>
          {admin ? <div><Button type="submit" tone="primary" size="md" disabled={Object.keys(change).length === 0} busy={save.isPending}>{t.common.save}</Button></div> : null}
        </fieldset>
      </form>
    </Panel>
  );
}

function PolicyTab({ project, admin }: { project: Project; admin: boolean }) {
  const policy = useQuery(queries.policy(project.id));
  return <Panel admin={admin}><Loaded query={policy}>{(data) => <PolicyMatrix key={JSON.stringify(data)} project={project} policy={data} admin={admin} />}</Loaded></Panel>;
}

function PolicyMatrix({ project, policy, admin }: { project: Project; policy: Policy; admin: boolean }) {
  const [draft, setDraft] = useState(policy);
  const changed = JSON.stringify(draft) !== JSON.stringify(policy);
  const save = useCommand<void, Policy>({ send: (_input, key) => putPolicy(project.id, draft, key), refresh: () => [keys.policy(project.id), keys.project(project.id)], done: t.common.saved });
  const flip = (row: number, level: (typeof LEVELS)[number]) =>
    setDraft({ ...draft, rows: draft.rows.map((item, index) => (index === row ? { ...item, [level]: item[level] === "ask" ? "auto" : "ask" } : item)) });
  return (
    <>
      <p className="text-soft">{t.settings.policyHelp}</p>
      <TableFrame label={t.settings.policy} heads={[t.settings.action, ...LEVELS.map((level) => labelOf(level))]}>
        {draft.rows.map((row, index) => (
          <tr key={row.action}>
            <td className="px-3 py-2"><span className="inline-block font-medium first-letter:uppercase">{row.title}</span> <Badge tone={toneOf(row.category)}>{labelOf(row.category)}</Badge></td>
            {LEVELS.map((level) => (
              <td key={level} className={clsx("px-3 py-1.5", level === project.autonomy && "bg-accent-wash")}>
                <button type="button" disabled={!admin} aria-pressed={row[level] === "ask"} aria-label={`${row.title}, ${labelOf(level)}: ${t.settings[row[level]]}`} onClick={() => flip(index, level)}
                  className={clsx("h-6 w-14 rounded-md border text-xs font-medium", row[level] === "ask" ? "border-warn/50 bg-warn-wash text-warn" : "border-line-strong bg-panel text-soft", admin && "hover:brightness-95")}>
                  {t.settings[row[level]]}
                </button>
              </td>
            ))}
          </tr>
        ))}
      </TableFrame>
      {admin ? (
        <div className="flex items-center gap-2">
          <Button tone="primary" size="md" disabled={!changed} busy={save.isPending} onClick={() => save.mutate()}>{t.common.save}</Button>
          {changed ? <Button tone="ghost" size="md" onClick={() => setDraft(policy)}>{t.common.cancel}</Button> : null}
        </div>
      ) : null}
    </>
  );
}

function BudgetTab({ project, admin }: { project: Project; admin: boolean }) {
  const budget = useQuery(queries.budget(project.id));
  return <Panel admin={admin}><Loaded query={budget}>{(data) => <BudgetForm key={`${data?.hard_limit_micro_usd} ${data?.soft_limit_micro_usd}`} project={project} budget={data} admin={admin} />}</Loaded></Panel>;
}

const MICROS = 1_000_000;
const dollars = (micro: number | null | undefined) => (micro === null || micro === undefined ? "" : String(micro / MICROS));

function BudgetForm({ project, budget, admin }: { project: Project; budget: Budget | null; admin: boolean }) {
  const [hard, setHard] = useState(dollars(budget?.hard_limit_micro_usd));
  const [soft, setSoft] = useState(dollars(budget?.soft_limit_micro_usd));
  const [wrong, setWrong] = useState<{ hard?: string; soft?: string }>({});
  const save = useCommand<{ hard: number | null; soft: number | null }, Budget>({
    send: (input, key) => putBudget(project.id, { hard_limit_micro_usd: input.hard, soft_limit_micro_usd: input.soft }, key),
    refresh: () => [keys.budget(project.id), keys.project(project.id), keys.projects(), keys.usage(project.id), keys.runs(project.id)],
    done: t.common.saved,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const parsed = { hard: hard.trim() ? parseMoney(hard) : null, soft: soft.trim() ? parseMoney(soft) : null };
    const errors = { ...(hard.trim() && parsed.hard === null ? { hard: t.errors.amount } : {}), ...(soft.trim() && parsed.soft === null ? { soft: t.errors.amount } : {}) };
    setWrong(errors);
    if (Object.keys(errors).length === 0) save.mutate(parsed);
  };
  return (
    <form className="card max-w-2xl p-4" onSubmit={submit}>
      <fieldset disabled={!admin} className="flex flex-col gap-3.5">
        <div><BudgetBar budget={budget} label={t.settings.budget} /></div>
        <TextField label={t.settings.hard} help={t.settings.hardHelp} inputMode="decimal" value={hard} error={wrong.hard} onChange={(event) => setHard(event.target.value)} />
        <TextField label={t.settings.soft} help={t.settings.softHelp} inputMode="decimal" value={soft} error={wrong.soft} onChange={(event) => setSoft(event.target.value)} />
        {admin ? <div><Button type="submit" tone="primary" size="md" busy={save.isPending}>{t.common.save}</Button></div> : null}
      </fieldset>
    </form>
  );
}

const ROLES = ["admin", "editor", "approver", "viewer"] as const;

function Members({ project, admin }: { project: Project; admin: boolean }) {
  const members = useQuery(queries.members(project.id));
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<string>("approver");
  const refresh = () => [keys.members(project.id)];
  const add = useCommand<void, Member>({ send: (_input, key) => addMember(project.id, { email: email.trim(), role }, key), refresh, done: t.settings.added, quietFields: true, onSuccess: () => setEmail("") });
  const remove = useCommand<string, void>({ send: (id, key) => removeMember(project.id, id, key), refresh, done: t.settings.removed });
  const error = add.error instanceof ApiError ? add.error : null;
  const [asking, setAsking] = useState<Member | null>(null);
  return (
    <Panel admin={admin}>
      <Dialog open={asking !== null} onClose={() => setAsking(null)} title={asking ? `${t.settings.removeAsk(asking.name || asking.email)}?` : ""}>
        <p>{t.settings.removeHelp}</p>
        <div className="mt-4 flex justify-end gap-2">
          <Button size="md" tone="ghost" data-autofocus onClick={() => setAsking(null)}>{t.common.cancel}</Button>
          <Button size="md" tone="danger" onClick={() => { if (asking) remove.mutate(asking.user_id); setAsking(null); }}>{t.common.remove}</Button>
        </div>
      </Dialog>
      <Loaded query={members}>
        {(all) => all.length === 0 ? <EmptyState title={t.settings.noMembers} /> : (
          <TableFrame label={t.settings.members} heads={[t.auth.name, t.settings.email, t.settings.role, ACTIONS]}>
            {all.map((member) => {
              const { user_id: id, name, email: address } = member;
              return (
                <tr key={id || address}>
                  <td className="px-3 py-2 font-medium">{name}</td><td className="px-3 py-2 text-soft">{address}</td><td className="px-3 py-2"><Badge>{t.settings.roles[member.role] ?? labelOf(member.role)}</Badge></td>
                  <td className={ACTS}>{admin ? <Button tone="ghost" aria-label={t.settings.removeAsk(name || address)} onClick={() => setAsking(member)}>{t.common.remove}</Button> : null}</td>
                </tr>
              );
            })}
          </TableFrame>
        )}
      </Loaded>
      {admin ? (
        <form className="card flex max-w-2xl flex-wrap items-end gap-3 p-4" onSubmit={(event) => { event.preventDefault(); add.mutate(); }}>
          <div className="min-w-52 flex-1"><TextField label={t.settings.email} type="email" required value={email} error={error?.field("email")} onChange={(event) => setEmail(event.target.value)} /></div>
          <div className="w-36"><SelectField label={t.settings.role} value={role} onChange={(event) => setRole(event.target.value)}>{ROLES.map((item) => <option key={item} value={item}>{t.settings.roles[item]}</option>)}</SelectField></div>
          <Button type="submit" size="md" tone="primary" className="h-8" busy={add.isPending}>{t.settings.add}</Button>
        </form>
      ) : null}
    </Panel>
  );
}

function System() {
  const system = useQuery(queries.system());
  return (
    <Panel admin>
      <Loaded query={system}>
        {(data) => (
          <>
            <dl className="card grid max-w-2xl grid-cols-[10rem_minmax(0,1fr)] gap-y-1.5 p-4">
              <dt className="text-soft">{t.settings.version}</dt><dd>{data.version}</dd>
              <dt className="text-soft">{t.settings.database}</dt><dd>{labelOf(data.database)}</dd>
              <dt className="text-soft">{t.settings.isolation}</dt><dd>{data.isolation.level}: {data.isolation.detail}</dd>
              <dt className="text-soft">{t.settings.models}</dt>
              <dd>{data.models.map((group) => <p key={group.group}><span className="font-medium">{group.group}</span>: {group.deployments.map((item) => `${item.provider}/${item.model}${item.simulated ? ` (${t.costs.simulated.toLowerCase()})` : ""}`).join(", ")}</p>)}</dd>
            </dl>
            <TableFrame label={t.settings.queues} heads={[t.settings.queue, { label: t.settings.depth, right: true }, { label: t.settings.oldest, right: true }, { label: t.settings.workers, right: true }]}>
              {data.queues.map((queue) => (
                <tr key={queue.queue}><td className="px-3 py-1.5 font-mono text-xs">{queue.queue}</td><td className="px-3 py-1.5 text-right tabular">{queue.depth}</td><td className="px-3 py-1.5 text-right tabular">{queue.oldest_age_seconds === null ? "–" : `${queue.oldest_age_seconds} s`}</td><td className="px-3 py-1.5 text-right tabular">{queue.workers === 0 && queue.depth > 0 ? <Badge tone="bad">0</Badge> : queue.workers}</td></tr>
              ))}
            </TableFrame>
          </>
        )}
      </Loaded>
    </Panel>
  );
}
