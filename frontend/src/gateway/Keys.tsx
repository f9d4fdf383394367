import { useQuery } from "@tanstack/react-query";
import { clsx } from "clsx";
import { KeyRound, Plus } from "lucide-react";
import { useState } from "react";
import { createGatewayKey, replaceGatewayKey, revokeGatewayKey, rotateGatewayKey, useCommand } from "../api/actions";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { GatewayKey, GatewayKeySettings, MadeKey, Project } from "../api/types";
import { count, shortTime } from "../format";
import { t } from "../i18n/en";
import { can } from "../shell/project";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { Disclosure } from "../ui/disclosure";
import { BudgetBar, Cost } from "../ui/entity";
import { EmptyState, Loaded, Notice } from "../ui/feedback";
import { SelectField } from "../ui/form";
import { Menu } from "../ui/menu";
import { ACTIONS, ACTS, TableFrame } from "../ui/page";
import { Badge } from "../ui/status";
import { Ago, useNow } from "../ui/time";
import { KeyForm } from "./KeyForm";
import { EMPTY_FORM, OVERLAPS, formOf, keyState, previousUntil } from "./keys";
import { Secret } from "./Secret";

type Asked = { what: "edit" | "rotate" | "revoke"; key: GatewayKey };

interface Props {
  project: Project;
  /** Whether a new one is being written: said by the address. */
  writing: boolean;
  onWriting: (writing: boolean) => void;
}

/** The virtual keys of a project. */
export function Keys({ project, writing, onWriting }: Props) {
  const list = useQuery(queries.gatewayKeys(project.id));
  const now = useNow();
  const [asked, setAsked] = useState<Asked | null>(null);
  const [made, setMade] = useState<MadeKey | null>(null);
  const admin = can(project.role, "administer");
  const button = admin ? <Button tone="primary" onClick={() => onWriting(true)}><Plus size={14} aria-hidden="true" />{t.gatewayKeys.create}</Button> : null;
  const table = (items: GatewayKey[]) => <KeyTable items={items} now={now} onAsk={admin ? setAsked : null} />;
  return (
    <div className="pt-4">
      <div className="mb-3 flex flex-wrap items-center gap-x-3 gap-y-2"><p className="max-w-3xl min-w-52 flex-1 text-soft">{t.gatewayKeys.intro}</p><div className="ml-auto">{button}</div></div>
      <Loaded query={list}>
        {(all) => {
          const good = all.filter((key) => keyState(key, now) === "active");
          const over = all.filter((key) => keyState(key, now) !== "active");
          return (
            <>
              {good.length > 0 ? table(good) : <div className="card"><EmptyState icon={<KeyRound size={28} aria-hidden="true" />} title={t.gatewayKeys.empty} detail={`${t.gatewayKeys.emptyDetail}${admin ? "" : ` ${t.gatewayKeys.emptyReader}`}`} action={button} /></div>}
              {over.length > 0 ? <Disclosure className="mt-4" summary={t.gatewayKeys.over(over.length)}><div className="mt-2">{table(over)}</div></Disclosure> : null}
            </>
          );
        }}
      </Loaded>
      <Create projectId={project.id} open={writing && admin} onClose={() => onWriting(false)} onMade={setMade} />
      <Edit project={project} asked={asked} onClose={() => setAsked(null)} />
      <Confirm project={project} asked={asked} now={now} onClose={() => setAsked(null)} onMade={setMade} />
      <Secret made={made} onClose={() => setMade(null)} />
    </div>
  );
}

function KeyTable({ items, now, onAsk }: { items: GatewayKey[]; now: number; onAsk: ((asked: Asked) => void) | null }) {
  const heads = [t.gatewayKeys.name, t.gatewayKeys.models, t.gatewayKeys.limits, t.gatewayKeys.spent, t.gatewayKeys.lastUsed, t.gatewayKeys.end, ...(onAsk ? [ACTIONS] : [])];
  return <TableFrame label={t.gatewayKeys.title} wide heads={heads}>{items.map((key) => <KeyRow key={key.id} item={key} now={now} onAsk={onAsk} />)}</TableFrame>;
}

function KeyRow({ item, now, onAsk }: { item: GatewayKey; now: number; onAsk: ((asked: Asked) => void) | null }) {
  const state = keyState(item, now);
  const previous = previousUntil(item, now);
  const number = (value: number | null | undefined) => (value === null || value === undefined ? null : count(value));
  const ask = (what: Asked["what"]) => () => onAsk?.({ what, key: item });
  return (
    <tr className={clsx("align-top hover:bg-hover", state !== "active" && "text-soft")} data-key={item.id} data-key-state={state}>
      <th scope="row" className="max-w-60 px-3 py-2 text-left font-normal"><span className="block truncate font-medium">{item.name}</span><code className="font-mono text-xs text-soft">{item.prefix}…</code>{previous ? <span className="block text-xs text-soft" data-previous>{t.gatewayKeys.previousUntil(shortTime(previous, new Date(now)))}</span> : null}</th>
      <td className="max-w-52 px-3 py-2">{item.models ? <span className="flex flex-wrap gap-1">{item.models.map((model) => <Badge key={model} className="max-w-full"><span className="truncate font-mono">{model}</span></Badge>)}</span> : <span className="text-soft">{t.gatewayKeys.allModels}</span>}</td>
      <td className="px-3 py-2 text-soft">{t.gatewayKeys.perMinute(number(item.requests_per_minute), number(item.tokens_per_minute))}</td>
      <td className="min-w-44 px-3 py-2">{item.hard_limit_micro_usd === null || item.hard_limit_micro_usd === undefined ? <><Cost real={item.spent_micro_usd} simulated={item.simulated_micro_usd} /><span className="block text-xs text-soft">{t.gatewayKeys.noBudget}</span></> : <BudgetBar label={`${t.gatewayKeys.budget}: ${item.name}`} budget={{ ...item, hard_limit_micro_usd: item.hard_limit_micro_usd }} />}</td>
      <td className="px-3 py-2 whitespace-nowrap text-soft">{item.last_used_at ? <Ago at={item.last_used_at} /> : t.gatewayKeys.never}</td>
      <td className="px-3 py-2 whitespace-nowrap text-soft"><End item={item} state={state} now={now} /></td>
      {onAsk ? (
        <td className={ACTS}>
          {state === "revoked" ? null : (
            <Menu label={t.gatewayKeys.actionsOf(item.name)} trigger={<Button aria-label={t.gatewayKeys.actionsOf(item.name)}>{t.common.actions}</Button>} items={[
              { label: t.common.edit, onSelect: ask("edit") }, { label: t.gatewayKeys.rotate, onSelect: ask("rotate") }, "separator", { label: t.gatewayKeys.revoke, danger: true, onSelect: ask("revoke") },
            ]} />
          )}
        </td>
      ) : null}
    </tr>
  );
}

function End({ item, state, now }: { item: GatewayKey; state: string; now: number }) {
  const at = state === "revoked" ? item.revoked_at : item.expires_at;
  if (!at) return <>{t.gatewayKeys.open}</>;
  return <>{state === "active" ? null : <Badge tone={state === "revoked" ? "bad" : "neutral"} className="mr-1.5">{t.gatewayKeys.states[state]}</Badge>}<time dateTime={at}>{shortTime(at, new Date(now))}</time></>;
}

function Create({ projectId, open, onClose, onMade }: { projectId: string; open: boolean; onClose: () => void; onMade: (made: MadeKey) => void }) {
  const create = useCommand<GatewayKeySettings, GatewayKey>({
    send: async (settings) => {
      const made = await createGatewayKey(projectId, settings);
      // Handed on beside the result, which is kept for a while.
      onMade(made);
      return made.key;
    },
    refresh: () => [keys.gatewayKeys(projectId)],
    quietFields: true,
    onSuccess: onClose,
  });
  return (
    <Dialog open={open} onClose={onClose} title={t.gatewayKeys.create}>
      <KeyForm projectId={projectId} initial={EMPTY_FORM} submit={t.common.create} busy={create.isPending} error={create.error} onSubmit={(settings) => create.mutate(settings)} onCancel={onClose} />
    </Dialog>
  );
}

function Edit({ project, asked, onClose }: { project: Project; asked: Asked | null; onClose: () => void }) {
  const key = asked?.what === "edit" ? asked.key : null;
  const edit = useCommand<{ id: string; settings: GatewayKeySettings }, GatewayKey>({
    send: ({ id, settings }) => replaceGatewayKey(project.id, id, settings),
    refresh: () => [keys.gatewayKeys(project.id)],
    done: (_input, changed) => t.gatewayKeys.changed(changed.name),
    quietFields: true,
    onSuccess: onClose,
  });
  return (
    <Dialog open={key !== null} onClose={onClose} title={key ? t.gatewayKeys.edit(key.name) : ""}>
      {key ? <KeyForm projectId={project.id} initial={formOf(key)} submit={t.common.save} busy={edit.isPending} error={edit.error} onSubmit={(settings) => edit.mutate({ id: key.id, settings })} onCancel={onClose} /> : null}
    </Dialog>
  );
}

/** Rotating and revoking end what others use: both are asked once more. */
function Confirm({ project, asked, now, onClose, onMade }: { project: Project; asked: Asked | null; now: number; onClose: () => void; onMade: (made: MadeKey) => void }) {
  const [overlap, setOverlap] = useState(0);
  const close = () => {
    setOverlap(0);
    onClose();
  };
  const refresh = () => [keys.gatewayKeys(project.id)];
  const rotate = useCommand<GatewayKey, void>({ send: async (key) => onMade(await rotateGatewayKey(project.id, key.id, { overlap_seconds: overlap })), refresh, onSuccess: close });
  const revoke = useCommand<GatewayKey, void>({ send: (key) => revokeGatewayKey(project.id, key.id), refresh, done: (key) => t.gatewayKeys.revoked(key.name), onSuccess: close });
  const [what, key] = asked && asked.what !== "edit" ? [asked.what, asked.key] : [null, null];
  const [title, help, label] = what === "rotate" ? [t.gatewayKeys.rotateAsk, t.gatewayKeys.rotateHelp, t.gatewayKeys.rotate] : [t.gatewayKeys.revokeAsk, t.gatewayKeys.revokeHelp, t.gatewayKeys.revoke];
  const command = what === "rotate" ? rotate : revoke;
  return (
    <Dialog open={key !== null} onClose={close} title={key ? title(key.name) : ""}>
      <p>{help}</p>
      {key && what === "rotate" ? (
        <div className="mt-3 flex flex-col gap-3">
          <SelectField label={t.gatewayKeys.overlap} help={overlap > 0 ? t.gatewayKeys.overlapHelp : undefined} value={overlap} onChange={(event) => setOverlap(Number(event.target.value))}>
            {OVERLAPS.map((seconds) => <option key={seconds} value={seconds}>{t.gatewayKeys.overlaps[seconds]}</option>)}
          </SelectField>
          {previousUntil(key, now) ? <Notice tone="warn">{t.gatewayKeys.rotateAgain}</Notice> : null}
        </div>
      ) : null}
      <div className="mt-4 flex justify-end gap-2">
        <Button size="md" tone="ghost" data-autofocus onClick={close}>{t.common.cancel}</Button>
        <Button size="md" tone="danger" busy={command.isPending} onClick={() => { if (key) command.mutate(key); }}>{label}</Button>
      </div>
    </Dialog>
  );
}
