import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { ApiError } from "../api/client";
import * as queries from "../api/queries";
import type { GatewayKeySettings } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { SelectField, TextField } from "../ui/form";
import { settingsOf, type FormErrors, type KeyForm as Form } from "./keys";

interface Props {
  projectId: string;
  initial: Form;
  submit: string;
  busy: boolean;
  error: unknown;
  onSubmit: (settings: GatewayKeySettings) => void;
  onCancel: () => void;
}

/** What a key may do: the same form for a new one and for one that is there. */
export function KeyForm({ projectId, initial, submit, busy, error, onSubmit, onCancel }: Props) {
  const [form, setForm] = useState(initial);
  const [errors, setErrors] = useState<FormErrors>({});
  const refusal = error instanceof ApiError ? error : null;
  const text = (field: "name" | "requests" | "tokens" | "budget" | "ends", wire: string) => ({
    value: form[field],
    error: errors[field] ?? refusal?.field(wire),
    onChange: (event: { target: { value: string } }) => setForm({ ...form, [field]: event.target.value }),
  });
  const send = (event: FormEvent) => {
    event.preventDefault();
    const result = settingsOf(form, Date.now());
    setErrors("errors" in result ? result.errors : {});
    if ("settings" in result) onSubmit(result.settings);
  };
  return (
    <form className="flex flex-col gap-3.5" noValidate onSubmit={send}>
      <TextField label={t.gatewayKeys.name} help={t.gatewayKeys.nameHelp} required maxLength={100} data-autofocus {...text("name", "name")} />
      <Models projectId={projectId} chosen={form.models} error={refusal?.field("models")} onChange={(models) => setForm({ ...form, models })} />
      <div className="grid gap-3.5 sm:grid-cols-2">
        <TextField label={t.gatewayKeys.requests} inputMode="numeric" {...text("requests", "requests_per_minute")} />
        <TextField label={t.gatewayKeys.tokens} inputMode="numeric" {...text("tokens", "tokens_per_minute")} />
        <TextField label={t.gatewayKeys.budget} help={t.gatewayKeys.budgetHelp} inputMode="decimal" {...text("budget", "hard_limit_micro_usd")} />
        <TextField label={t.gatewayKeys.ends} help={t.gatewayKeys.endsHelp} type="datetime-local" {...text("ends", "expires_at")} />
      </div>
      <Owner projectId={projectId} value={form.owner} error={refusal?.field("agent_id") ?? refusal?.field("user_id")} onChange={(owner) => setForm({ ...form, owner })} />
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onCancel}>{t.common.cancel}</Button>
        <Button size="md" tone="primary" type="submit" busy={busy}>{submit}</Button>
      </div>
    </form>
  );
}

function Models({ projectId, chosen, error, onChange }: { projectId: string; chosen: string[]; error: string | undefined; onChange: (models: string[]) => void }) {
  const health = useQuery(queries.gatewayHealth(projectId));
  const groups = health.data?.groups.map((group) => group.name) ?? [];
  const deployments = health.data?.deployments.map((item) => item.name).filter((name) => !groups.includes(name)) ?? [];
  // What a key names stays shown, also when no group has it any more.
  const gone = health.data ? chosen.filter((name) => !groups.includes(name) && !deployments.includes(name)) : [];
  const flip = (name: string) => onChange(chosen.includes(name) ? chosen.filter((item) => item !== name) : [...chosen, name]);
  return (
    <fieldset>
      <legend className="mb-1 font-medium">{t.gatewayKeys.models}</legend>
      <div className="field flex h-auto max-h-36 flex-wrap gap-x-4 gap-y-1.5 overflow-y-auto py-2">
        {[...groups, ...deployments, ...gone].map((name) => (
          <label key={name} className="flex items-center gap-1.5">
            <input type="checkbox" checked={chosen.includes(name)} onChange={() => flip(name)} />
            <span className="font-mono text-xs break-all">{name}</span>
          </label>
        ))}
        {health.isPending ? <span className="skeleton h-4 w-40" /> : null}
      </div>
      <p className="mt-1 text-xs text-soft">{t.gatewayKeys.modelsHelp}</p>
      {error ? <p role="alert" className="text-xs text-bad">{error}</p> : null}
    </fieldset>
  );
}

function Owner({ projectId, value, error, onChange }: { projectId: string; value: string; error: string | undefined; onChange: (value: string) => void }) {
  const agents = useQuery(queries.agents(projectId));
  const members = useQuery(queries.members(projectId));
  return (
    <SelectField label={t.gatewayKeys.owner} help={t.gatewayKeys.ownerHelp} value={value} error={error} onChange={(event) => onChange(event.target.value)}>
      <option value="">{t.gatewayKeys.nobody}</option>
      <optgroup label={t.gatewayKeys.agents}>{agents.data?.map((agent) => <option key={agent.id} value={`agent:${agent.id}`}>{agent.name}</option>)}</optgroup>
      <optgroup label={t.gatewayKeys.people}>{members.data?.map((member) => <option key={member.user_id} value={`user:${member.user_id}`}>{member.name || member.email}</option>)}</optgroup>
    </SelectField>
  );
}
