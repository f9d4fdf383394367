import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { ChevronRight, Download, Layers, X } from "lucide-react";
import { Fragment, useState } from "react";
import { sentenceOf } from "../activity/sentence";
import { download } from "../api/download";
import * as queries from "../api/queries";
import type { AuditEntry } from "../api/types";
import { Chain } from "../audit/Chain";
import { grouped } from "../audit/group";
import { dateTime, dayKey, dayName, shortHash, timeOfDay } from "../format";
import { t } from "../i18n/en";
import { useNames } from "../shell/names";
import { Button } from "../ui/button";
import { Disclosure } from "../ui/disclosure";
import { ActorName, Json } from "../ui/entity";
import { EmptyState, InlineError, SkeletonRows } from "../ui/feedback";
import { SearchInput } from "../ui/form";
import { PageFrame } from "../ui/page";
import { Badge, labelOf, toneOf } from "../ui/status";
import { toastError } from "../ui/toast";
import { More } from "./activity";

const FIELD = "w-44 max-sm:w-24 max-sm:flex-1";

export function AuditPage() {
  const { projectId } = useParams({ from: "/app/projects/$projectId/audit" });
  const filter = useSearch({ from: "/app/projects/$projectId/audit" });
  const navigate = useNavigate({ from: "/projects/$projectId/audit" });
  const entries = useInfiniteQuery({ ...queries.audit(projectId, filter), placeholderData: keepPreviousData });
  const names = useNames(projectId);
  const [steps, setSteps] = useState(false);
  const chain = entries.data?.pages[0]?.chain;
  const items = entries.data?.pages.flatMap((page) => page.items) ?? [];
  const filtered = Object.keys(filter).length > 0;
  const rows = steps ? items.map((entry) => ({ kind: "entry" as const, entry })) : grouped(items);
  const set = (name: "q" | "type" | "actor") => (value: string) => void navigate({ search: (known) => ({ ...known, [name]: value || undefined }), replace: true });
  return (
    <PageFrame title={t.audit.title} tools={<Button onClick={() => void download(`/projects/${projectId}/audit/export`, "audit.jsonl").catch(toastError)}><Download size={14} aria-hidden="true" />{t.audit.export}</Button>}>
      {chain ? <Chain projectId={projectId} chain={chain} readAt={entries.dataUpdatedAt} /> : null}
      <div role="search" aria-label={t.common.filters} className="mb-3 flex flex-wrap items-center gap-2">
        <SearchInput label={t.audit.search} value={filter.q ?? ""} onChange={set("q")} className={FIELD} />
        <SearchInput label={t.audit.type} value={filter.type ?? ""} onChange={set("type")} className={FIELD} />
        <SearchInput label={t.audit.actor} value={filter.actor ?? ""} onChange={set("actor")} className={FIELD} />
        {filtered ? <Button tone="ghost" onClick={() => void navigate({ search: {}, replace: true })}><X size={13} aria-hidden="true" />{t.common.clearFilters}</Button> : null}
        <Button tone="ghost" className="ml-auto" aria-pressed={steps} onClick={() => setSteps(!steps)}><Layers size={13} aria-hidden="true" />{steps ? t.audit.groupSteps : t.audit.everyEntry}</Button>
      </div>
      {entries.isError ? <InlineError error={entries.error} onRetry={() => void entries.refetch()} /> : null}
      {entries.isPending ? <SkeletonRows rows={10} /> : null}
      {entries.data ? (
        items.length === 0 ? <div className="card"><EmptyState title={t.audit.empty} detail={t.audit.emptyDetail} action={<Button onClick={() => void navigate({ search: {} })}>{t.common.clearFilters}</Button>} /></div> : (
          <>
            <ol aria-label={t.audit.title} className="card divide-y divide-line overflow-hidden">
              {rows.map((row, index) => {
                const time = (row.kind === "entry" ? row.entry : row.entries[0])?.time ?? "";
                const above = rows[index - 1];
                const before = above ? ((above.kind === "entry" ? above.entry : above.entries[0])?.time ?? "") : "";
                return (
                  <Fragment key={row.kind === "entry" ? row.entry.id : row.id}>
                    {before && dayKey(before) === dayKey(time) ? null : <li className="bg-well px-3 py-1 text-xs font-medium text-soft">{dayName(time)}</li>}
                    {row.kind === "entry" ? <EntryRow entry={row.entry} text={sentenceOf(row.entry, names)} /> : <StepsRow entries={row.entries} names={names} />}
                  </Fragment>
                );
              })}
            </ol>
            <More has={entries.hasNextPage} busy={entries.isFetchingNextPage} onMore={() => void entries.fetchNextPage()} />
          </>
        )
      ) : null}
    </PageFrame>
  );
}

function StepsRow({ entries, names }: { entries: AuditEntry[]; names: ReadonlyMap<string, string> }) {
  const [open, setOpen] = useState(false);
  const [newest, oldest] = [entries[0], entries.at(-1)];
  if (!newest || !oldest) return null;
  const who = entries.find((entry) => entry.actor.type === "agent")?.actor ?? newest.actor;
  return (
    <li>
      <button type="button" aria-expanded={open} onClick={() => setOpen(!open)} className="flex w-full items-center gap-3 px-3 py-1.5 text-left -outline-offset-2 hover:bg-hover">
        <ChevronRight size={13} aria-hidden="true" className={open ? "shrink-0 rotate-90 text-faint" : "shrink-0 text-faint"} />
        <span className="w-12 shrink-0 text-right text-xs text-faint tabular max-sm:hidden">{newest.position ?? "–"}</span>
        <ActorName actor={who} className="w-32 shrink-0 max-sm:w-20" />
        <span className="min-w-0 flex-1 truncate text-soft">{t.audit.steps(entries.length)}</span>
        <span className="shrink-0 text-xs text-soft tabular"><span className="max-sm:hidden">{timeOfDay(oldest.time)} – </span>{timeOfDay(newest.time)}</span>
      </button>
      {open ? <ol className="divide-y divide-line border-t border-line bg-well">{entries.map((entry) => <EntryRow key={entry.id} entry={entry} text={sentenceOf(entry, names)} />)}</ol> : null}
    </li>
  );
}

function EntryRow({ entry, text }: { entry: AuditEntry; text: string }) {
  return (
    <li>
      <Disclosure
        summaryClass="gap-3 px-3 py-1.5 hover:bg-hover"
        summary={<>
          <span className="w-12 shrink-0 text-right text-xs text-faint tabular max-sm:hidden">{entry.position ?? t.audit.unsealed}</span>
          <ActorName actor={entry.actor} className="w-32 shrink-0 max-sm:w-20" />
          <span className="min-w-0 flex-1 truncate max-sm:line-clamp-2 max-sm:whitespace-normal">{text}</span>
          {entry.severity === "info" || entry.severity === "low" ? null : <Badge tone={toneOf(entry.severity)}>{labelOf(entry.severity)}</Badge>}
          <code className="hidden w-24 shrink-0 font-mono text-2xs text-faint lg:block">{shortHash(entry.hash)}</code>
          <time dateTime={entry.time} title={dateTime(entry.time)} className="shrink-0 text-xs text-soft tabular">{timeOfDay(entry.time)}</time>
        </>}
      >
        <div className="flex flex-col gap-2 px-3 pt-1 pb-3 sm:pl-20">
          <dl className="grid grid-cols-[7rem_minmax(0,1fr)] gap-x-3 gap-y-1">
            <dt className="text-soft">{t.audit.type}</dt><dd className="font-mono text-xs">{entry.type}</dd>
            <dt className="text-soft">{t.audit.action}</dt><dd className="break-all">{entry.action}</dd>
            <dt className="text-soft">{t.audit.time}</dt><dd>{dateTime(entry.time)}</dd>
            <dt className="text-soft">{t.audit.hash}</dt><dd className="font-mono text-xs break-all">{entry.hash ?? "–"}</dd>
            <dt className="text-soft">{t.audit.previous}</dt><dd className="font-mono text-xs break-all">{entry.previous_hash ?? "–"}</dd>
          </dl>
          <Json value={entry.data} label={t.audit.data} />
        </div>
      </Disclosure>
    </li>
  );
}
