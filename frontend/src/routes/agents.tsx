import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Bot, Download, Pause, Play, Plus, Upload } from "lucide-react";
import { useState, type FormEvent } from "react";
import { commandAgent, importAgentType, spawnAgent, useCommand } from "../api/actions";
import { Versions } from "../agents/Versions";
import { ApiError } from "../api/client";
import { download } from "../api/download";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { Agent, AgentType, Project } from "../api/types";
import { compact, duration, money } from "../format";
import { t } from "../i18n/en";
import { can } from "../shell/project";
import { useStableKey } from "../stableKey";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { Disclosure } from "../ui/disclosure";
import { Cost } from "../ui/entity";
import { EmptyState, InlineError, Loaded } from "../ui/feedback";
import { FilterSelect, SelectField, TextArea, TextField } from "../ui/form";
import { ACTIONS, ACTS, PageFrame, TableFrame } from "../ui/page";
import { Badge, Status, labelOf } from "../ui/status";
import { Tabs } from "../ui/tabs";
import { Ago } from "../ui/time";
import { toastError } from "../ui/toast";

export function AgentsPage() {
  const { projectId } = useParams({ from: "/app/projects/$projectId/agents" });
  const search = useSearch({ from: "/app/projects/$projectId/agents" });
  const navigate = useNavigate({ from: "/projects/$projectId/agents" });
  const project = useQuery(queries.project(projectId));
  const [dialog, setDialog] = useState<"spawn" | "import" | null>(null);
  const tab = search.tab === "types" ? "types" : "instances";
  const mayWrite = can(project.data?.role, "write");
  const spawn = mayWrite ? <Button tone="primary" onClick={() => setDialog("spawn")}><Plus size={14} aria-hidden="true" />{t.agents.spawn}</Button> : null;
  return (
    <PageFrame title={t.agents.title} tools={<>{mayWrite ? <Button onClick={() => setDialog("import")}><Upload size={14} aria-hidden="true" />{t.agents.import}</Button> : null}{spawn}</>}>
      <Tabs label={t.agents.title} value={tab} onChange={(key) => void navigate({ search: key === "types" ? { tab: key } : {}, replace: true })} tabs={[
        { key: "instances", label: t.agents.instances, content: () => <Instances projectId={projectId} mayWrite={mayWrite} spawn={spawn} /> },
        { key: "types", label: t.agents.types, content: () => <Types projectId={projectId} /> },
      ]} />
      <Dialog open={dialog === "spawn"} onClose={() => setDialog(null)} title={t.agents.spawn}><SpawnForm projectId={projectId} onClose={() => setDialog(null)} /></Dialog>
      <Dialog open={dialog === "import" && project.data !== undefined} onClose={() => setDialog(null)} title={t.agents.import} wide>{project.data ? <ImportForm project={project.data} onClose={() => setDialog(null)} /> : null}</Dialog>
    </PageFrame>
  );
}

function Instances({ projectId, mayWrite, spawn }: { projectId: string; mayWrite: boolean; spawn: React.ReactNode }) {
  const agents = useQuery(queries.agents(projectId));
  const search = useSearch({ from: "/app/projects/$projectId/agents" });
  const navigate = useNavigate({ from: "/projects/$projectId/agents" });
  return (
    <div className="pt-3">
      <Loaded query={agents}>
        {(all) => {
          const shown = all.filter((agent) => (search.status ? agent.status === search.status : agent.status !== "terminated"));
          return (
            <>
              <div className="mb-2"><FilterSelect label={t.agents.status} value={search.status ?? ""} onChange={(status) => void navigate({ search: status ? { status } : {}, replace: true })}
                options={[{ value: "", label: `${t.agents.status}: ${t.common.all}` }, ...["active", "idle", "paused", "terminated"].map((value) => ({ value, label: labelOf(value) }))]} /></div>
              {shown.length === 0 && search.status ? <div className="card"><EmptyState title={t.agents.noMatch} action={<Button onClick={() => void navigate({ search: {}, replace: true })}>{t.common.clearFilters}</Button>} /></div> : shown.length === 0 ? <div className="card"><EmptyState icon={<Bot size={28} aria-hidden="true" />} title={t.agents.empty} detail={t.agents.emptyDetail} action={spawn} /></div> : (
                <TableFrame label={t.agents.instances} wide heads={[t.agents.title, t.agents.status, t.agents.task, t.agents.lastActive, { label: t.agents.spent, right: true }, { label: t.agents.runs, right: true }, ACTIONS]}>
                  {shown.map((agent) => <AgentRow key={agent.id} agent={agent} mayWrite={mayWrite} />)}
                </TableFrame>
              )}
            </>
          );
        }}
      </Loaded>
    </div>
  );
}

function AgentRow({ agent, mayWrite }: { agent: Agent; mayWrite: boolean }) {
  const [asking, setAsking] = useState(false);
  const command = useCommand<"pause" | "resume" | "terminate", Agent>({
    send: (name, key) => commandAgent(agent.project_id, agent.id, name, key),
    refresh: () => [keys.agents(agent.project_id), keys.runs(agent.project_id)],
    done: (name) => `${agent.name}: ${t.agents.done[name]}`,
  });
  return (
    <tr className="hover:bg-hover">
      <td className="px-3 py-2"><span className="font-medium">{agent.name}</span><span className="block text-xs text-soft">{agent.type.name} {t.common.version(agent.type.version)}</span></td>
      <td className="px-3 py-2"><Status value={agent.status} /></td>
      <td className="max-w-60 px-3 py-2">{agent.current_run_id ? <Link to="/projects/$projectId/runs/$runId" params={{ projectId: agent.project_id, runId: agent.current_run_id }} className="text-accent hover:underline">{agent.current_task ?? t.run.title}</Link> : <span className="text-soft">{agent.current_task ?? t.agents.noTask}</span>}</td>
      <td className="px-3 py-2 whitespace-nowrap text-soft">{agent.last_activity_at ? <Ago at={agent.last_activity_at} /> : "–"}</td>
      <td className="px-3 py-2 text-right"><Cost real={agent.spent_micro_usd} simulated={agent.simulated_micro_usd} /></td>
      <td className="px-3 py-2 text-right tabular">{agent.runs}</td>
      <td className={ACTS}>
        {mayWrite && agent.status !== "terminated" ? (
          <div className="flex gap-1 max-md:flex-col">
            {agent.status === "paused"
              ? <Button aria-label={`${t.agents.resume} ${agent.name}`} busy={command.isPending} onClick={() => command.mutate("resume")}><Play size={12} aria-hidden="true" />{t.agents.resume}</Button>
              : <Button aria-label={`${t.agents.pause} ${agent.name}`} busy={command.isPending} onClick={() => command.mutate("pause")}><Pause size={12} aria-hidden="true" />{t.agents.pause}</Button>}
            <Button tone="ghost" aria-label={`${t.agents.terminate} ${agent.name}`} onClick={() => setAsking(true)}>{t.agents.terminate}</Button>
          </div>
        ) : null}
        <Dialog open={asking} onClose={() => setAsking(false)} title={t.agents.terminateAsk(agent.name)}>
          <p>{t.agents.terminateHelp}</p>
          <div className="mt-4 flex justify-end gap-2">
            <Button size="md" tone="ghost" data-autofocus onClick={() => setAsking(false)}>{t.common.cancel}</Button>
            <Button size="md" tone="danger" onClick={() => { setAsking(false); command.mutate("terminate"); }}>{t.agents.terminate}</Button>
          </div>
        </Dialog>
      </td>
    </tr>
  );
}

function Types({ projectId }: { projectId: string }) {
  const types = useQuery(queries.agentTypes(projectId));
  return (
    <div className="pt-3">
      <Loaded query={types}>
        {(all) => all.length === 0 ? <EmptyState title={t.agents.noTypes} /> : <ul className="grid gap-3 lg:grid-cols-2">{all.map((type) => <TypeCard key={type.id} type={type} />)}</ul>}
      </Loaded>
    </div>
  );
}

function TypeCard({ type }: { type: AgentType }) {
  const { limits } = type;
  const facts = [
    limits.max_steps ? `${t.run.maxSteps} ≤ ${limits.max_steps}` : null,
    limits.max_cost_micro_usd ? `${t.run.maxCost} ≤ ${money(limits.max_cost_micro_usd)}` : null,
    limits.max_seconds ? `${t.run.maxTime} ≤ ${duration(limits.max_seconds * 1_000)}` : null,
    limits.max_tokens ? `${t.run.maxTokens} ≤ ${compact(limits.max_tokens)}` : null,
  ].filter((fact) => fact !== null);
  return (
    <li className="card p-3.5">
      <div className="flex flex-wrap items-center gap-2">
        <h2 className="font-semibold">{type.name}</h2><Badge tone="info">{labelOf(type.role)}</Badge><span className="text-soft">{t.common.version(type.version)}</span>
        {type.is_active ? null : <Badge>{t.agents.inactive}</Badge>}
        <Button tone="ghost" className="ml-auto" onClick={() => void download(`/agent-types/${type.id}/export`, `${type.name}.agent.toml`).catch(toastError)}><Download size={13} aria-hidden="true" />{t.agents.export}</Button>
      </div>
      <dl className="mt-2 grid grid-cols-[7rem_minmax(0,1fr)] gap-x-3 gap-y-1">
        <dt className="text-soft">{t.agents.model}</dt><dd className="font-mono text-xs">{type.model_group}</dd>
        <dt className="text-soft">{t.agents.expertise}</dt><dd>{type.expertise.join(", ") || "–"}</dd>
        <dt className="text-soft">{t.agents.capabilities}</dt><dd className="font-mono text-xs">{type.capabilities.join(", ") || "–"}</dd>
        <dt className="text-soft">{t.agents.personality}</dt><dd>{[type.personality.style, type.personality.tone].filter(Boolean).join(", ") || "–"}</dd>
        <dt className="text-soft">{t.agents.limits}</dt><dd>{facts.join(" · ") || "–"}</dd>
      </dl>
      <Disclosure className="mt-3" summary={t.agents.prompt}><p className="mt-1.5 rounded-md border border-line bg-canvas p-2.5 break-words whitespace-pre-wrap">{type.system_prompt}</p></Disclosure>
      <Versions type={type} />
    </li>
  );
}

function SpawnForm({ projectId, onClose }: { projectId: string; onClose: () => void }) {
  const types = useQuery(queries.agentTypes(projectId));
  const [type, setType] = useState("");
  const [name, setName] = useState("");
  const active = types.data?.filter((item) => item.is_active) ?? [];
  // What is shown is what is sent: an inactive type is in neither.
  const chosen = active.find((item) => item.id === type) ?? active[0];
  const key = useStableKey();
  const spawn = useCommand<void, Agent>({
    send: () => {
      const body = { agent_type_id: chosen?.id ?? "", ...(name.trim() ? { name: name.trim() } : {}) };
      return spawnAgent(projectId, body, key.for(body));
    },
    refresh: () => [keys.agents(projectId), keys.project(projectId)],
    done: (_input, agent) => t.agents.spawned(agent.name),
    onSuccess: onClose,
  });
  return (
    <form className="flex flex-col gap-3.5" onSubmit={(event: FormEvent) => { event.preventDefault(); spawn.mutate(); }}>
      <SelectField label={t.agents.type} data-autofocus value={chosen?.id ?? ""} onChange={(event) => setType(event.target.value)}>
        {active.map((item) => <option key={item.id} value={item.id}>{item.name} ({labelOf(item.role)})</option>)}
      </SelectField>
      <TextField label={t.agents.name} maxLength={60} value={name} onChange={(event) => setName(event.target.value)} />
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onClose}>{t.common.cancel}</Button>
        <Button size="md" tone="primary" type="submit" disabled={!chosen} busy={spawn.isPending}>{t.agents.spawn}</Button>
      </div>
    </form>
  );
}

function ImportForm({ project, onClose }: { project: Project; onClose: () => void }) {
  const [toml, setToml] = useState("");
  const send = useCommand<void, AgentType>({
    send: (_input, key) => importAgentType({ organisation_id: project.organisation_id, toml }, key),
    refresh: () => [["agent-types"]],
    done: (_input, type) => t.agents.imported(type.name),
    quietFields: true,
    onSuccess: onClose,
  });
  const fields = send.error instanceof ApiError ? (send.error.body.errors ?? []) : [];
  return (
    <form className="flex flex-col gap-3.5" onSubmit={(event) => { event.preventDefault(); send.mutate(); }}>
      {send.isError && fields.length === 0 ? <InlineError error={send.error} /> : null}
      {fields.length > 0 ? <ul role="alert" className="list-disc pl-5 text-bad">{fields.map((field) => <li key={field.field}><code>{field.field}</code>: {field.message}</li>)}</ul> : null}
      <TextArea label={t.agents.import} help={t.agents.importHelp} data-autofocus required rows={14} spellCheck={false} className="font-mono text-xs" value={toml} onChange={(event) => setToml(event.target.value)} />
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onClose}>{t.common.cancel}</Button>
        <Button size="md" tone="primary" type="submit" busy={send.isPending}>{t.agents.import}</Button>
      </div>
    </form>
  );
}
