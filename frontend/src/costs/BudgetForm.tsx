import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { ApiError } from "../api/client";
import * as queries from "../api/queries";
import type { PutBudget } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { SelectField, TextField } from "../ui/form";
import { limitsOf, PERIODS, runName, SCOPES, type BudgetErrors, type BudgetForm as Form, type Period, type Scope } from "./budgets";

interface Props {
  /** The project whose nodes can be chosen; none: the node is an organisation. */
  projectId: string | null;
  initial: Form;
  /** Of a budget that is there only the limits change. */
  fixed: boolean;
  busy: boolean;
  error: unknown;
  onSubmit: (form: Form, limits: PutBudget) => void;
  onCancel: () => void;
}

/** What a node of the tree may spend in a period, and what each limit does. */
export function BudgetForm({ projectId, initial, fixed, busy, error, onSubmit, onCancel }: Props) {
  const [form, setForm] = useState(initial);
  const [errors, setErrors] = useState<BudgetErrors>({});
  const refusal = error instanceof ApiError ? error : null;
  const text = (field: "hard" | "soft" | "hardTokens" | "softTokens", wire: string) => ({
    value: form[field],
    error: errors[field] ?? refusal?.field(wire),
    onChange: (event: { target: { value: string } }) => setForm({ ...form, [field]: event.target.value }),
  });
  const send = (event: FormEvent) => {
    event.preventDefault();
    const result = limitsOf(form);
    setErrors("errors" in result ? result.errors : {});
    if ("limits" in result) onSubmit(form, result.limits);
  };
  return (
    <form className="flex flex-col gap-3.5" noValidate onSubmit={send}>
      {fixed ? null : (
        <div className="grid gap-3.5 sm:grid-cols-2">
          {projectId ? (
            <SelectField label={t.budgets.on} value={form.scope} onChange={(event) => setForm({ ...form, scope: event.target.value as Scope, target: "" })}>
              {SCOPES.map((scope) => <option key={scope} value={scope}>{t.budgets.scopes[scope]}</option>)}
            </SelectField>
          ) : null}
          <SelectField label={t.budgets.period} help={t.budgets.periodHelp} value={form.period} onChange={(event) => setForm({ ...form, period: event.target.value as Period })}>
            {PERIODS.map((period) => <option key={period} value={period}>{t.budgets.periods[period]}</option>)}
          </SelectField>
        </div>
      )}
      {projectId && !fixed && form.scope !== "project" ? <Target projectId={projectId} scope={form.scope} value={form.target} error={errors.target} onChange={(target) => setForm({ ...form, target })} /> : null}
      <div className="grid gap-3.5 sm:grid-cols-2">
        <TextField label={t.settings.hard} inputMode="decimal" data-autofocus {...text("hard", "hard_limit_micro_usd")} />
        <TextField label={t.settings.soft} inputMode="decimal" {...text("soft", "soft_limit_micro_usd")} />
        <TextField label={t.budgets.hardTokens} inputMode="numeric" {...text("hardTokens", "hard_limit_tokens")} />
        <TextField label={t.budgets.softTokens} inputMode="numeric" {...text("softTokens", "soft_limit_tokens")} />
      </div>
      <ul className="list-disc pl-4 text-xs text-soft"><li>{t.budgets.hardDoes}</li><li>{t.budgets.softDoes}</li><li>{t.budgets.allCount}</li></ul>
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onCancel}>{t.common.cancel}</Button>
        <Button size="md" tone="primary" type="submit" busy={busy}>{t.common.save}</Button>
      </div>
    </form>
  );
}

function Target({ projectId, scope, value, error, onChange }: { projectId: string; scope: Exclude<Scope, "project">; value: string; error: string | undefined; onChange: (id: string) => void }) {
  const sprints = useQuery({ ...queries.sprints(projectId), enabled: scope === "sprint" });
  const agents = useQuery({ ...queries.agents(projectId), enabled: scope === "agent" });
  const runs = useQuery({ ...queries.runsAtWork(projectId), enabled: scope === "run" });
  const stories = useQuery({ ...queries.stories(projectId), enabled: scope === "run" });
  const keys = useQuery({ ...queries.gatewayKeys(projectId), enabled: scope === "key" });
  const items = {
    sprint: sprints.data?.filter((sprint) => sprint.state !== "done" && sprint.state !== "cancelled"),
    agent: agents.data?.filter((agent) => agent.status !== "terminated"),
    // Without their stories they have no names yet.
    run: stories.isPending ? undefined : runs.data?.map((run) => ({ id: run.id, name: runName(run, stories.data ?? []) })),
    key: keys.data?.filter((key) => !key.revoked_at),
  }[scope];
  return (
    <SelectField label={t.budgets.which} value={value} error={error} onChange={(event) => onChange(event.target.value)}>
      <option value="">{items?.length === 0 ? t.budgets.noneThere : t.budgets.choose}</option>
      {items?.map((item) => <option key={item.id} value={item.id}>{item.name}</option>)}
    </SelectField>
  );
}
