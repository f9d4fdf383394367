import type { UseQueryResult } from "@tanstack/react-query";
import { ChevronRight, Plus, Waypoints } from "lucide-react";
import { Fragment, useState } from "react";
import { putModelGroup, removeModelGroup, useCommand } from "../api/actions";
import { keys } from "../api/keys";
import type { ModelDeployment, ModelGroup, ModelGroupSettings } from "../api/types";
import { routingOf } from "../gateway/health";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { EmptyState, Loaded } from "../ui/feedback";
import { ACTIONS, ACTS, TableFrame } from "../ui/page";
import { Badge } from "../ui/status";
import { GroupForm } from "./GroupForm";

interface Props {
  organisation: string;
  query: UseQueryResult<ModelGroup[]>;
  deployments: ModelDeployment[];
}

/** The groups that an organisation's projects can name. */
export function Groups({ organisation, query, deployments }: Props) {
  const [editing, setEditing] = useState<ModelGroup | "new" | null>(null);
  const [removing, setRemoving] = useState<ModelGroup | null>(null);
  const refresh = () => [keys.modelGroups(organisation), ["project"]];
  const put = useCommand<{ name: string; settings: ModelGroupSettings }, ModelGroup>({ send: ({ name, settings }) => putModelGroup(organisation, name, settings), refresh, done: t.common.saved, quietFields: true, onSuccess: () => setEditing(null) });
  const remove = useCommand<ModelGroup, void>({ send: (group) => removeModelGroup(organisation, group.name), refresh, done: (group) => t.models.removed(group.name), onSuccess: () => setRemoving(null) });
  const open = (what: ModelGroup | "new") => { put.reset(); setEditing(what); };
  const add = <Button onClick={() => open("new")}><Plus size={14} aria-hidden="true" />{t.models.newGroup}</Button>;
  return (
    <section aria-label={t.models.groups} className="mt-6">
      <div className="mb-2 flex items-center gap-2"><h3 className="font-semibold">{t.models.groups}</h3><div className="ml-auto">{add}</div></div>
      <Loaded query={query}>
        {(items) => items.length === 0 ? <div className="card"><EmptyState icon={<Waypoints size={28} aria-hidden="true" />} title={t.models.noGroups} detail={t.models.noGroupsDetail} action={add} /></div> : (
          <TableFrame wide label={t.models.groups} heads={[t.models.group, t.models.chain, t.models.source, ACTIONS]}>
            {items.map((group) => <Row key={group.name} group={group} onEdit={() => open(group)} onRemove={() => setRemoving(group)} />)}
          </TableFrame>
        )}
      </Loaded>
      <Dialog wide open={editing !== null} onClose={() => setEditing(null)} title={editing === null ? "" : editing === "new" ? t.models.newGroup : t.models.editGroup(editing.name)}>
        {editing === null ? null : (
          <GroupForm key={editing === "new" ? "" : editing.name} group={editing === "new" ? null : editing} groups={query.data ?? []} deployments={deployments} busy={put.isPending} error={put.error} onCancel={() => setEditing(null)} onSubmit={(name, settings) => put.mutate({ name, settings })} />
        )}
      </Dialog>
      <Dialog open={removing !== null} onClose={() => setRemoving(null)} title={removing ? t.models.removeAsk(removing.name) : ""}>
        <p>{removing?.is_configured ? t.models.removeBack : t.models.removeHelp}</p>
        <div className="mt-4 flex justify-end gap-2">
          <Button size="md" tone="ghost" data-autofocus onClick={() => setRemoving(null)}>{t.common.cancel}</Button>
          <Button size="md" tone="danger" busy={remove.isPending} onClick={() => { if (removing) remove.mutate(removing); }}>{t.models.removeGroup}</Button>
        </div>
      </Dialog>
    </section>
  );
}

function Row({ group, onEdit, onRemove }: { group: ModelGroup; onEdit: () => void; onRemove: () => void }) {
  const routing = routingOf(group);
  const own = group.source === "organisation";
  const name = own ? t.common.edit : t.models.override;
  return (
    <tr className="align-top hover:bg-hover" data-model-group={group.name} data-source={group.source}>
      <th scope="row" className="px-3 py-2 text-left font-medium whitespace-nowrap">{group.name}</th>
      <td className="px-3 py-2">
        <ol className="flex flex-wrap items-center gap-x-1 gap-y-1.5">
          {group.chain.map((link, at) => (
            <Fragment key={link.deployment}>
              {at > 0 ? <li aria-hidden="true" className="text-faint"><ChevronRight size={13} /></li> : null}
              <li className="inline-flex items-center gap-1.5 rounded-md border border-line-strong px-1.5 py-0.5 font-mono text-xs break-all">{link.deployment}{group.routing === "weighted" ? <span className="whitespace-nowrap text-soft">{t.gateway.weight(link.weight)}</span> : null}{link.provider ? null : <span className="font-sans text-warn">{t.models.gone}</span>}</li>
            </Fragment>
          ))}
        </ol>
        {routing ? <p className="mt-1 text-xs text-soft">{routing}</p> : null}
      </td>
      <td className="px-3 py-2"><Badge tone={own ? "violet" : "neutral"}>{t.models.sources[group.source]}</Badge>{own && group.is_configured ? <span className="block text-xs text-soft">{t.models.over}</span> : null}</td>
      <td className={ACTS}><div className="flex gap-1 max-md:flex-col"><Button aria-label={`${name}: ${group.name}`} onClick={onEdit}>{name}</Button>{own ? <Button tone="ghost" aria-label={`${t.models.removeGroup}: ${group.name}`} onClick={onRemove}>{t.models.removeGroup}</Button> : null}</div></td>
    </tr>
  );
}
