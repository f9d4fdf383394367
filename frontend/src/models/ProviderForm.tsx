import { Plus, Trash2 } from "lucide-react";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { ApiError } from "../api/client";
import type { ModelProvider, ModelProviderSettings } from "../api/types";
import { t } from "../i18n/en";
import { Button, IconButton } from "../ui/button";
import { InlineError } from "../ui/feedback";
import { Disclosure } from "../ui/disclosure";
import { SelectField, TextField } from "../ui/form";
import { EMPTY_MODEL, EMPTY_PROVIDER, KINDS, WAITS, formOfProvider, ofKind, settingsOfProvider, type FieldErrors, type Kind, type ModelForm } from "./provider";

interface Props {
  /** The one that is changed; none: a new one. */
  provider: ModelProvider | null;
  busy: boolean;
  error: unknown;
  onSubmit: (settings: ModelProviderSettings) => void;
  onCancel: () => void;
}

/** An account at a provider: where it is, its key, and the models that are asked there. */
export function ProviderForm({ provider, busy, error, onSubmit, onCancel }: Props) {
  const [form, setForm] = useState(() => (provider ? formOfProvider(provider) : EMPTY_PROVIDER));
  const [errors, setErrors] = useState<FieldErrors>({});
  const refusal = error instanceof ApiError ? error : null;
  const place = useRef<HTMLFormElement>(null);
  // The form is longer than a phone: what is wrong must not stay out of sight.
  useEffect(() => {
    if (error || Object.keys(errors).length > 0) place.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }, [error, errors]);
  const wrong = (field: string) => errors[field] ?? refusal?.field(field);
  const text = (field: "name" | "address" | "vendor" | "apiVersion" | "key", wire: string) => ({
    value: form[field],
    error: wrong(wire),
    onChange: (event: { target: { value: string } }) => setForm({ ...form, [field]: event.target.value }),
  });
  const setModel = (at: number, model: ModelForm) => setForm({ ...form, models: form.models.map((one, index) => (index === at ? model : one)) });
  const send = (event: FormEvent) => {
    event.preventDefault();
    const result = settingsOfProvider(form, provider);
    setErrors("errors" in result ? result.errors : {});
    if ("settings" in result) onSubmit(result.settings);
  };
  return (
    <form ref={place} className="flex flex-col gap-3.5" noValidate onSubmit={send}>
      {refusal?.code === "no_master_key" ? <InlineError error={refusal} /> : null}
      <div className="grid gap-3.5 sm:grid-cols-2">
        <TextField label={t.models.name} help={t.models.nameHelp} required maxLength={40} disabled={provider !== null} data-autofocus {...text("name", "name")} />
        <SelectField label={t.models.kind} value={form.kind} error={wrong("kind")} onChange={(event) => setForm(ofKind(form, event.target.value as Kind))}>
          {KINDS.map((kind) => <option key={kind} value={kind}>{t.models.kinds[kind]}</option>)}
        </SelectField>
      </div>
      <TextField label={t.models.address} help={t.models.addressHelp} required inputMode="url" className="font-mono text-xs" {...text("address", "base_url")} />
      <TextField label={t.models.key} help={provider?.key ? t.models.keyKeeps : t.models.keyHelp} type="password" autoComplete="off" spellCheck={false} className="font-mono text-xs" {...text("key", "key")} />
      {form.kind === "openai_compatible" || form.kind === "azure_openai" ? (
        <div className="grid gap-3.5 sm:grid-cols-2">
          <TextField label={t.models.vendor} help={t.models.vendorHelp} {...text("vendor", "vendor")} />
          {form.kind === "azure_openai" ? <TextField label={t.models.apiVersion} help={t.models.apiVersionHelp} {...text("apiVersion", "api_version")} /> : null}
        </div>
      ) : null}
      <fieldset className="flex flex-col gap-3">
        <legend className="mb-1 font-medium">{t.models.models}</legend>
        {form.models.map((model, at) => (
          <Model key={at} at={at} model={model} wrong={wrong} onChange={(next) => setModel(at, next)} onRemove={form.models.length > 1 ? () => setForm({ ...form, models: form.models.filter((_, index) => index !== at) }) : null} />
        ))}
        {wrong("deployments") ? <p role="alert" className="text-xs text-bad">{wrong("deployments")}</p> : null}
        <div><Button onClick={() => setForm({ ...form, models: [...form.models, EMPTY_MODEL] })}><Plus size={14} aria-hidden="true" />{t.models.addModel}</Button></div>
      </fieldset>
      <div className="flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onCancel}>{t.common.cancel}</Button>
        <Button size="md" tone="primary" type="submit" busy={busy}>{provider ? t.common.save : t.common.create}</Button>
      </div>
    </form>
  );
}

interface ModelProps {
  at: number;
  model: ModelForm;
  wrong: (field: string) => string | undefined;
  onChange: (model: ModelForm) => void;
  onRemove: (() => void) | null;
}

function Model({ at, model, wrong, onChange, onRemove }: ModelProps) {
  const field = (name: keyof ModelForm, ...wires: string[]) => ({
    value: model[name],
    error: wires.map((wire) => wrong(`deployments[${at}].${wire}`)).find(Boolean),
    onChange: (event: { target: { value: string } }) => onChange({ ...model, [name]: event.target.value }),
  });
  const isWrong = WAITS.some(([, wire]) => wrong(`deployments[${at}].timeouts.${wire}`));
  return (
    <fieldset className="relative rounded-lg border border-line p-3" data-model-form={at}>
      <legend className="px-1 text-xs text-soft">{t.models.modelNumber(at + 1)}</legend>
      {onRemove ? <IconButton label={t.models.removeModel(model.name || model.model || String(at + 1))} className="absolute top-0 right-1" onClick={onRemove}><Trash2 size={14} aria-hidden="true" /></IconButton> : null}
      <div className="grid gap-3 sm:grid-cols-2">
        <TextField label={t.models.model} help={t.models.modelHelp} required className="font-mono text-xs" {...field("model", "model")} />
        <TextField label={t.models.called} help={t.models.calledHelp} className="font-mono text-xs" {...field("name", "name")} />
        <TextField label={t.models.window} inputMode="numeric" {...field("window", "context_window")} />
        <TextField label={t.models.output} inputMode="numeric" {...field("output", "max_output")} />
        <TextField label={t.models.priceIn} help={t.models.priceHelp} inputMode="decimal" {...field("input", "prices", "prices.input")} />
        <TextField label={t.models.priceOut} help={t.models.priceHelp} inputMode="decimal" {...field("answer", "prices.output")} />
      </div>
      {/* Open where something is said or wrong: it must not stay out of sight. */}
      <Disclosure key={String(isWrong)} className="mt-3" summary={t.models.waits} open={isWrong || WAITS.some(([name]) => model[name] !== "")}>
        <div className="mt-2 grid gap-3 sm:grid-cols-2">
          {WAITS.map(([name, wire, usual]) => (
            <TextField key={name} label={t.models.waitNames[name]} inputMode="decimal" placeholder={String(usual)} {...field(name, `timeouts.${wire}`)} />
          ))}
        </div>
      </Disclosure>
    </fieldset>
  );
}
