import { ArrowDown, ArrowUp, Trash2 } from "lucide-react";
import { useEffect, useRef, useState, type FormEvent, type KeyboardEvent } from "react";
import { ApiError } from "../api/client";
import type { ModelDeployment, ModelGroup, ModelGroupSettings } from "../api/types";
import { t } from "../i18n/en";
import { Button, IconButton } from "../ui/button";
import { SelectField, TextField } from "../ui/form";
import { EMPTY_GROUP, ROUTINGS, formOfGroup, moved, settingsOfGroup, type LinkForm, type Routing } from "./group";
import type { FieldErrors } from "./provider";

interface Props {
  /** The one that is changed; none: a new one. */
  group: ModelGroup | null;
  groups: ModelGroup[];
  deployments: ModelDeployment[];
  busy: boolean;
  error: unknown;
  onSubmit: (name: string, settings: ModelGroupSettings) => void;
  onCancel: () => void;
}

/** Who serves a name, in which order, and who of them is asked first. */
export function GroupForm({ group, groups, deployments, busy, error, onSubmit, onCancel }: Props) {
  const [form, setForm] = useState(() => (group ? formOfGroup(group) : EMPTY_GROUP));
  const [errors, setErrors] = useState<FieldErrors>({});
  const refusal = error instanceof ApiError ? error : null;
  const wrong = (field: string) => errors[field] ?? refusal?.field(field);
  const send = (event: FormEvent) => {
    event.preventDefault();
    const result = settingsOfGroup(form);
    setErrors("errors" in result ? result.errors : {});
    if ("settings" in result) onSubmit(form.name.trim(), result.settings);
  };
  return (
    <form className="flex flex-col gap-3.5" noValidate onSubmit={send}>
      <TextField label={t.models.name} help={t.models.groupNameHelp} required maxLength={64} disabled={group !== null} data-autofocus={group === null ? true : undefined} className="font-mono text-xs" value={form.name} error={wrong("name")} onChange={(event) => setForm({ ...form, name: event.target.value })} />
      <SelectField label={t.models.routing} value={form.routing} error={wrong("routing")} onChange={(event) => setForm({ ...form, routing: event.target.value as Routing })}>
        {ROUTINGS.map((routing) => <option key={routing} value={routing}>{t.models.routings[routing]}</option>)}
      </SelectField>
      <Chain chain={form.chain} weighted={form.routing === "weighted"} deployments={deployments} wrong={wrong} onChange={(chain) => setForm({ ...form, chain })} />
      <div className="grid gap-3.5 sm:grid-cols-2">
        <SelectField label={t.models.cheaper} help={t.models.cheaperHelp} value={form.cheaper} error={wrong("cheaper")} onChange={(event) => setForm({ ...form, cheaper: event.target.value })}>
          <option value="">{t.models.noCheaper}</option>
          {groups.filter((one) => one.name !== form.name).map((one) => <option key={one.name} value={one.name}>{one.name}</option>)}
        </SelectField>
        <TextField label={t.models.hedge} help={t.models.hedgeHelp} inputMode="decimal" value={form.hedge} error={wrong("hedge_after_ms")} onChange={(event) => setForm({ ...form, hedge: event.target.value })} />
      </div>
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onCancel}>{t.common.cancel}</Button>
        <Button size="md" tone="primary" type="submit" busy={busy}>{t.common.save}</Button>
      </div>
    </form>
  );
}

interface ChainProps {
  chain: LinkForm[];
  weighted: boolean;
  deployments: ModelDeployment[];
  wrong: (field: string) => string | undefined;
  onChange: (chain: LinkForm[]) => void;
}

function Chain({ chain, weighted, deployments, wrong, onChange }: ChainProps) {
  const list = useRef<HTMLOListElement>(null);
  const [said, setSaid] = useState("");
  /** The button that had the focus goes along with its deployment. */
  const [followed, setFollowed] = useState<{ deployment: string; by: number } | null>(null);
  useEffect(() => {
    if (!followed) return;
    const row = list.current?.querySelector<HTMLElement>(`[data-link="${CSS.escape(followed.deployment)}"]`);
    const [wished, other] = followed.by === 1 ? ["down", "up"] : ["up", "down"];
    const button = row?.querySelector<HTMLButtonElement>(`[data-move="${wished}"]:not(:disabled)`) ?? row?.querySelector<HTMLButtonElement>(`[data-move="${other}"]`);
    button?.focus();
  }, [followed]);
  const move = (at: number, by: number) => {
    const { deployment } = chain[at] ?? {};
    if (deployment === undefined || at + by < 0 || at + by >= chain.length) return;
    setFollowed({ deployment, by });
    setSaid(t.models.movedTo(deployment, at + by + 1, chain.length));
    onChange(moved(chain, at, by));
  };
  const byKey = (at: number) => (event: KeyboardEvent) => {
    if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    event.preventDefault();
    event.stopPropagation();
    move(at, event.key === "ArrowUp" ? -1 : 1);
  };
  const left = deployments.filter((one) => !chain.some((link) => link.deployment === one.name));
  const known = new Set(deployments.map((one) => one.name));
  return (
    <fieldset>
      <legend className="mb-1 font-medium">{t.models.chain}</legend>
      <p className="mb-1.5 text-xs text-soft">{t.models.chainHelp}</p>
      <ol ref={list} className="flex flex-col gap-1.5">
        {chain.map((link, at) => (
          // oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- the keys are those of the buttons in it
          <li key={link.deployment} data-link={link.deployment} onKeyDown={byKey(at)} className="rounded-md border border-line-strong px-2 py-1">
            <div className="flex flex-wrap items-center gap-x-2 gap-y-1">
              <span className="w-4 text-right text-xs text-soft tabular">{at + 1}</span>
              <span className="min-w-24 flex-1 font-mono text-xs break-all">{link.deployment}{known.has(link.deployment) ? null : <span className="ml-1.5 font-sans text-warn">{t.models.gone}</span>}</span>
              {weighted ? <label className="flex items-center gap-1.5 text-xs">{t.models.weight}<input aria-label={t.models.weightOf(link.deployment)} aria-invalid={wrong(`chain[${at}].weight`) ? true : undefined} inputMode="numeric" className="field h-7 w-16" value={link.weight} onChange={(event) => onChange(chain.map((one, index) => (index === at ? { ...one, weight: event.target.value } : one)))} /></label> : null}
              <span className="flex">
                <IconButton data-move="up" label={t.models.up(link.deployment)} disabled={at === 0} className="disabled:opacity-40" onClick={() => move(at, -1)}><ArrowUp size={14} aria-hidden="true" /></IconButton>
                <IconButton data-move="down" label={t.models.down(link.deployment)} disabled={at === chain.length - 1} className="disabled:opacity-40" onClick={() => move(at, 1)}><ArrowDown size={14} aria-hidden="true" /></IconButton>
                <IconButton label={t.models.removeLink(link.deployment)} onClick={() => onChange(chain.filter((_, index) => index !== at))}><Trash2 size={14} aria-hidden="true" /></IconButton>
              </span>
            </div>
            {[wrong(`chain[${at}].deployment`), wrong(`chain[${at}].weight`)].filter(Boolean).map((text) => <p key={text} role="alert" className="text-xs text-bad">{text}</p>)}
          </li>
        ))}
      </ol>
      <p aria-live="polite" className="sr-only">{said}</p>
      <div className="mt-2">
        {deployments.length === 0 ? <p className="text-soft">{t.models.noDeployments}</p> : (
          <SelectField label={t.models.add} value="" error={wrong("chain")} disabled={left.length === 0} onChange={(event) => { if (event.target.value) onChange([...chain, { deployment: event.target.value, weight: "1" }]); }}>
            <option value="">{t.models.choose}</option>
            {left.map((one) => <option key={one.name} value={one.name}>{one.name}</option>)}
          </SelectField>
        )}
      </div>
    </fieldset>
  );
}
