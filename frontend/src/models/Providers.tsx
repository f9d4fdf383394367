import type { UseQueryResult } from "@tanstack/react-query";
import { Plus, Server } from "lucide-react";
import { useState } from "react";
import { createModelProvider, deleteModelProvider, replaceModelProvider, replaceModelProviderKey, useCommand } from "../api/actions";
import { ApiError } from "../api/client";
import { keys } from "../api/keys";
import type { ModelGroup, ModelProvider, ModelProviderSettings } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { EmptyState, Loaded } from "../ui/feedback";
import { TextField } from "../ui/form";
import { Menu } from "../ui/menu";
import { ACTIONS, ACTS, TableFrame } from "../ui/page";
import { Badge } from "../ui/status";
import { Ago } from "../ui/time";
import { ProviderForm } from "./ProviderForm";

type Asked = { what: "edit" | "key" | "delete"; provider: ModelProvider };

interface Props {
  organisation: string;
  query: UseQueryResult<ModelProvider[]>;
  groups: ModelGroup[];
}

/** What is read anew after a change: groups and deployments follow their providers. */
const after = (organisation: string) => [keys.modelProviders(organisation), keys.modelGroups(organisation), keys.modelDeployments(organisation), ["project"]];

/** The accounts that an organisation has itself. */
export function Providers({ organisation, query, groups }: Props) {
  const [writing, setWriting] = useState(false);
  const [asked, setAsked] = useState<Asked | null>(null);
  const refresh = () => after(organisation);
  const add = <Button onClick={() => setWriting(true)}><Plus size={14} aria-hidden="true" />{t.models.newProvider}</Button>;
  const create = useCommand<ModelProviderSettings, ModelProvider>({ send: (settings) => createModelProvider(organisation, settings), refresh, done: t.common.saved, quietFields: true, onSuccess: () => setWriting(false) });
  const close = () => setAsked(null);
  return (
    <section aria-label={t.models.providers} className="mt-4">
      <div className="mb-2 flex items-center gap-2"><h3 className="font-semibold">{t.models.providers}</h3><div className="ml-auto">{add}</div></div>
      <Loaded query={query}>
        {(items) => items.length === 0 ? <div className="card"><EmptyState icon={<Server size={28} aria-hidden="true" />} title={t.models.noProviders} detail={t.models.noProvidersDetail} action={add} /></div> : (
          <TableFrame wide label={t.models.providers} heads={[t.models.provider, t.models.models, t.models.key, ACTIONS]}>
            {items.map((item) => <Row key={item.id} item={item} onAsk={setAsked} />)}
          </TableFrame>
        )}
      </Loaded>
      <Dialog wide open={writing} onClose={() => setWriting(false)} title={t.models.newProvider}>
        <ProviderForm provider={null} busy={create.isPending} error={create.error} onCancel={() => setWriting(false)} onSubmit={(settings) => create.mutate(settings)} />
      </Dialog>
      <Edit organisation={organisation} provider={asked?.what === "edit" ? asked.provider : null} onClose={close} />
      <NewKey organisation={organisation} provider={asked?.what === "key" ? asked.provider : null} onClose={close} />
      <Delete organisation={organisation} provider={asked?.what === "delete" ? asked.provider : null} groups={groups} onClose={close} />
    </section>
  );
}

function Row({ item, onAsk }: { item: ModelProvider; onAsk: (asked: Asked) => void }) {
  const ask = (what: Asked["what"]) => () => onAsk({ what, provider: item });
  return (
    <tr className="align-top hover:bg-hover" data-provider={item.name}>
      <th scope="row" className="max-w-72 px-3 py-2 text-left font-normal">
        <span className="block font-medium">{item.name}</span>
        <span className="block text-xs text-soft">{t.models.kinds[item.kind] ?? item.kind}</span>
        <span className="block font-mono text-xs break-all text-soft">{item.base_url}</span>
      </th>
      <td className="px-3 py-2"><ul className="flex flex-wrap gap-1">{item.deployments.map((one) => <li key={one.name} className="max-w-full"><Badge className="max-w-full"><span className="truncate font-mono">{one.full_name}</span></Badge></li>)}</ul></td>
      <td className="px-3 py-2"><KeyCell provider={item} /></td>
      <td className={ACTS}>
        <Menu label={t.models.actionsOf(item.name)} trigger={<Button aria-label={t.models.actionsOf(item.name)}>{t.common.actions}</Button>} items={[
          { label: t.common.edit, onSelect: ask("edit") }, { label: t.models.replaceKey, onSelect: ask("key") }, "separator", { label: t.models.deleteProvider, danger: true, onSelect: ask("delete") },
        ]} />
      </td>
    </tr>
  );
}

function KeyCell({ provider: { key } }: { provider: ModelProvider }) {
  if (!key) return <span className="text-soft">{t.models.noKey}</span>;
  return (
    <>
      <span className="block whitespace-nowrap" title={t.models.fingerprint(key.fingerprint)}>{key.last_four ? <code className="font-mono text-xs">…{key.last_four}</code> : <code className="font-mono text-xs">{key.fingerprint}</code>}</span>
      <span className="block text-xs whitespace-nowrap text-soft">{t.models.keySet} <Ago at={key.set_at} /></span>
      {key.readable ? null : <span title={t.models.unreadableHelp}><Badge tone="bad">{t.models.unreadable}</Badge><span className="sr-only">: {t.models.unreadableHelp}</span></span>}
    </>
  );
}

function Edit({ organisation, provider, onClose }: { organisation: string; provider: ModelProvider | null; onClose: () => void }) {
  const edit = useCommand<{ id: string; settings: ModelProviderSettings }, ModelProvider>({
    send: ({ id, settings }) => replaceModelProvider(organisation, id, settings),
    refresh: () => after(organisation),
    done: t.common.saved,
    quietFields: true,
    onSuccess: onClose,
  });
  return (
    <Dialog wide open={provider !== null} onClose={() => { edit.reset(); onClose(); }} title={provider ? t.models.editProvider(provider.name) : ""}>
      {provider ? <ProviderForm key={provider.id} provider={provider} busy={edit.isPending} error={edit.error} onCancel={onClose} onSubmit={(settings) => edit.mutate({ id: provider.id, settings })} /> : null}
    </Dialog>
  );
}

function NewKey({ organisation, provider, onClose }: { organisation: string; provider: ModelProvider | null; onClose: () => void }) {
  const [key, setKey] = useState("");
  const [wrong, setWrong] = useState<string | undefined>();
  const done = () => { setKey(""); setWrong(undefined); onClose(); };
  const replace = useCommand<{ id: string; key: string }, ModelProvider>({ send: (input) => replaceModelProviderKey(organisation, input.id, input.key), refresh: () => after(organisation), done: t.models.keyReplaced, quietFields: true, onSuccess: done });
  const refusal = replace.error instanceof ApiError ? replace.error.field("key") : undefined;
  return (
    <Dialog open={provider !== null} onClose={() => { replace.reset(); done(); }} title={provider ? t.models.replaceKeyOf(provider.name) : ""}>
      <form noValidate className="flex flex-col gap-3.5" onSubmit={(event) => { event.preventDefault(); setWrong(key.trim() ? undefined : t.errors.required); if (provider && key.trim()) replace.mutate({ id: provider.id, key: key.trim() }); }}>
        <TextField label={t.models.newKey} help={t.models.keyHelp} type="password" autoComplete="off" spellCheck={false} required data-autofocus value={key} error={wrong ?? refusal} onChange={(event) => setKey(event.target.value)} />
        <div className="flex justify-end gap-2">
          <Button size="md" tone="ghost" onClick={done}>{t.common.cancel}</Button>
          <Button size="md" tone="primary" type="submit" busy={replace.isPending}>{t.models.replaceKey}</Button>
        </div>
      </form>
    </Dialog>
  );
}

function Delete({ organisation, provider, groups, onClose }: { organisation: string; provider: ModelProvider | null; groups: ModelGroup[]; onClose: () => void }) {
  const remove = useCommand<ModelProvider, void>({ send: (one) => deleteModelProvider(organisation, one.id), refresh: () => after(organisation), done: (one) => t.models.deleted(one.name), onSuccess: onClose });
  const own = new Set(provider?.deployments.map((one) => one.full_name));
  const named = groups.filter((group) => group.chain.some((link) => own.has(link.deployment))).map((group) => group.name);
  return (
    <Dialog open={provider !== null} onClose={onClose} title={provider ? t.models.deleteAsk(provider.name) : ""}>
      <p>{t.models.deleteHelp}{named.length > 0 ? ` ${t.models.deleteNamed(named)}` : ""}</p>
      <div className="mt-4 flex justify-end gap-2">
        <Button size="md" tone="ghost" data-autofocus onClick={onClose}>{t.common.cancel}</Button>
        <Button size="md" tone="danger" busy={remove.isPending} onClick={() => { if (provider) remove.mutate(provider); }}>{t.models.deleteProvider}</Button>
      </div>
    </Dialog>
  );
}
