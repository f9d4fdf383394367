import { useQuery } from "@tanstack/react-query";
import { MessageSquare, Square } from "lucide-react";
import { useRef, useState, type FormEvent } from "react";
import { ApiError } from "../api/client";
import * as queries from "../api/queries";
import type { GatewayHealth, Project } from "../api/types";
import { t } from "../i18n/en";
import { can } from "../shell/project";
import { Button } from "../ui/button";
import { EmptyState, InlineError, Loaded, Notice } from "../ui/feedback";
import { SelectField, TextArea, TextField } from "../ui/form";
import { AnswerView } from "./AnswerView";
import { tokenLimit } from "./answer";
import { useAnswer } from "./useAnswer";

interface Props {
  project: Project;
  /** The model that the address names. */
  model: string | undefined;
  onModel: (model: string) => void;
}

/** A person asks a model. */
export function Playground(props: Props) {
  const health = useQuery(queries.gatewayHealth(props.project.id));
  return (
    <div className="pt-4">
      <p className="mb-3 max-w-3xl text-soft">{t.playground.intro}</p>
      <Loaded query={health}>
        {(data) => data.groups.length === 0 ? <div className="card"><EmptyState title={t.gateway.none} detail={t.gateway.noneDetail} /></div> : <Desk {...props} health={data} />}
      </Loaded>
    </div>
  );
}

const USUAL_LIMIT = "1024";

function Desk({ project, model: named, onModel, health }: Props & { health: GatewayHealth }) {
  const asked = useAnswer(project.id);
  const [system, setSystem] = useState("");
  const [prompt, setPrompt] = useState("");
  const [limit, setLimit] = useState(USUAL_LIMIT);
  const [wrong, setWrong] = useState<{ prompt?: string; limit?: string }>({});
  const groups = health.groups.map((group) => group.name);
  const alone = health.deployments.map((item) => item.name).filter((name) => !groups.includes(name));
  const model = [...groups, ...alone].find((name) => name === named) ?? groups[0] ?? "";
  const mayAsk = can(project.role, "write");
  const place = useRef<HTMLElement>(null);
  const asking = asked.phase === "asking";
  const refusal = asked.refusal instanceof ApiError && asked.refusal.body.errors?.length ? asked.refusal : null;
  const submit = (event?: FormEvent) => {
    event?.preventDefault();
    if (asking || !mayAsk) return;
    const tokens = tokenLimit(limit);
    const errors = { ...(prompt.trim() ? {} : { prompt: t.playground.needPrompt }), ...(tokens === null ? { limit: t.playground.needTokens } : {}) };
    setWrong(errors);
    if (tokens === null || errors.prompt) return;
    // On a phone the answer stands below what was just written.
    place.current?.scrollIntoView({ block: "nearest" });
    asked.ask({ model, prompt, max_tokens: tokens, ...(system.trim() ? { system } : {}) });
  };
  return (
    <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,26rem)_minmax(0,1fr)]">
      <form className="card p-4" noValidate onSubmit={submit} onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event); }}>
        <fieldset disabled={!mayAsk} className="flex flex-col gap-3.5">
          {mayAsk ? null : <Notice tone="info">{t.playground.readOnly}</Notice>}
          <SelectField label={t.playground.model} value={model} error={refusal?.field("model")} onChange={(event) => onModel(event.target.value)}>
            <optgroup label={t.playground.groups}>{groups.map((name) => <option key={name} value={name}>{name}</option>)}</optgroup>
            <optgroup label={t.playground.deployments}>{alone.map((name) => <option key={name} value={name}>{name}</option>)}</optgroup>
          </SelectField>
          <TextArea label={t.playground.system} help={t.playground.systemHelp} className="min-h-16" value={system} error={refusal?.field("system")} onChange={(event) => setSystem(event.target.value)} />
          <TextArea label={t.playground.prompt} required value={prompt} error={wrong.prompt ?? refusal?.field("prompt")} onChange={(event) => setPrompt(event.target.value)} />
          <TextField label={t.playground.maxTokens} inputMode="numeric" className="w-32" value={limit} error={wrong.limit ?? refusal?.field("max_tokens")} onChange={(event) => setLimit(event.target.value)} />
          <div className="flex gap-2">
            <Button type="submit" tone="primary" size="md" hint="Ctrl ⏎" busy={asking}>{t.playground.ask}</Button>
            {asking ? <Button size="md" onClick={asked.stop}><Square size={13} aria-hidden="true" />{t.playground.stop}</Button> : null}
          </div>
        </fieldset>
      </form>
      <section ref={place} aria-label={t.playground.answer} className="flex min-w-0 flex-col gap-4">
        {asked.refusal && !refusal ? <InlineError error={asked.refusal} title={t.playground.failed} /> : null}
        {asked.phase === "idle" ? <div className="card"><EmptyState icon={<MessageSquare size={28} aria-hidden="true" />} title={t.playground.empty} detail={t.playground.emptyDetail} /></div> : <AnswerView phase={asked.phase} answer={asked.answer} />}
      </section>
    </div>
  );
}
