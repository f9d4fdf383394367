import { useInfiniteQuery, useMutation } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Download, ShieldAlert, ShieldCheck } from "lucide-react";
import { useEffect, useState } from "react";
import { sentenceOf } from "../activity/sentence";
import { api } from "../api/client";
import { download } from "../api/download";
import * as queries from "../api/queries";
import type { AuditEntry, AuditPage as AuditPageData, AuditVerdict } from "../api/types";
import { dateTime, shortHash } from "../format";
import { t } from "../i18n/en";
import { useNames } from "../shell/names";
import { Button } from "../ui/button";
import { ActorName, Json } from "../ui/entity";
import { EmptyState, InlineError, SkeletonRows } from "../ui/feedback";
import { PageFrame } from "../ui/page";
import { Badge, toneOf } from "../ui/status";
import { Ago } from "../ui/time";
import { toastError } from "../ui/toast";
import { More } from "./activity";

/** Typing waits this long before it becomes a query. */
const TYPING_MS = 300;

export function AuditPage() {
  const { projectId } = useParams({ from: "/app/projects/$projectId/audit" });
  const filter = useSearch({ from: "/app/projects/$projectId/audit" });
  const entries = useInfiniteQuery(queries.audit(projectId, filter));
  const names = useNames(projectId);
  const chain = entries.data?.pages[0]?.chain;
  const items = entries.data?.pages.flatMap((page) => page.items) ?? [];
  const navigate = useNavigate({ from: "/projects/$projectId/audit" });
  return (
    <PageFrame title={t.audit.title} tools={<Button onClick={() => void download(`/projects/${projectId}/audit/export`, "audit.jsonl").catch(toastError)}><Download size={14} aria-hidden="true" />{t.audit.export}</Button>}>
      {chain ? <Chain projectId={projectId} chain={chain} /> : null}
      <Filters />
      {entries.isError ? <InlineError error={entries.error} onRetry={() => void entries.refetch()} /> : null}
      {entries.isPending ? <SkeletonRows rows={10} /> : null}
      {entries.data ? (
        items.length === 0 ? <div className="card"><EmptyState title={t.audit.empty} detail={t.audit.emptyDetail} action={<Button onClick={() => void navigate({ search: {} })}>{t.common.clearFilters}</Button>} /></div> : (
          <>
            <ol aria-label={t.audit.title} className="card divide-y divide-line">{items.map((entry) => <EntryRow key={entry.id} entry={entry} text={sentenceOf(entry, names)} />)}</ol>
            <More has={entries.hasNextPage} busy={entries.isFetchingNextPage} onMore={() => void entries.fetchNextPage()} />
          </>
        )
      ) : null}
    </PageFrame>
  );
}

function Chain({ projectId, chain }: { projectId: string; chain: AuditPageData["chain"] }) {
  const verify = useMutation({ mutationFn: () => api<AuditVerdict>(`/projects/${projectId}/audit/verify`) });
  const bad = verify.data && !verify.data.ok;
  const Icon = bad ? ShieldAlert : ShieldCheck;
  return (
    <section aria-label={t.audit.chain(chain.position)} className="card mb-3 flex flex-wrap items-center gap-x-4 gap-y-2 p-3.5">
      <Icon size={20} aria-hidden="true" className={bad ? "text-bad" : "text-ok"} />
      <div className="min-w-0">
        <p className="font-medium">{t.audit.chain(chain.position)}</p>
        <p className="text-soft">
          <code className="font-mono text-xs" title={chain.hash}>{shortHash(chain.hash)}</code> · {chain.verified_at ? <>{t.audit.verifiedAt} <Ago at={chain.verified_at} /></> : t.audit.never}
        </p>
      </div>
      <p role="status" className={bad ? "font-medium text-bad" : "text-ok"}>
        {verify.data ? (verify.data.ok ? t.audit.intact(verify.data.entries) : t.audit.broken(verify.data.first_bad?.position ?? 0, verify.data.first_bad?.reason ?? "")) : ""}
      </p>
      <Button className="ml-auto" busy={verify.isPending} onClick={() => verify.mutate()}>{verify.isPending ? t.audit.verifying : t.audit.verify}</Button>
      {verify.isError ? <div className="w-full"><InlineError error={verify.error} onRetry={() => verify.mutate()} /></div> : null}
    </section>
  );
}

function Filters() {
  const filter = useSearch({ from: "/app/projects/$projectId/audit" });
  const navigate = useNavigate({ from: "/projects/$projectId/audit" });
  const [form, setForm] = useState({ q: filter.q ?? "", type: filter.type ?? "", actor: filter.actor ?? "" });
  useEffect(() => {
    const timer = setTimeout(() => {
      const search = Object.fromEntries(Object.entries(form).filter(([, value]) => value !== ""));
      void navigate({ search, replace: true });
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [form, navigate]);
  const input = (name: keyof typeof form, label: string) => (
    <input type="search" aria-label={label} placeholder={label} value={form[name]} onChange={(event) => setForm({ ...form, [name]: event.target.value })} className="field h-7 w-44" />
  );
  return <div role="search" aria-label={t.common.filters} className="mb-3 flex flex-wrap gap-2">{input("q", t.audit.search)}{input("type", t.audit.type)}{input("actor", t.audit.actor)}</div>;
}

function EntryRow({ entry, text }: { entry: AuditEntry; text: string }) {
  const position = entry.position === null || entry.position === undefined ? t.audit.unsealed : String(entry.position);
  return (
    <li>
      <details>
        <summary className="flex list-none items-center gap-3 px-3 py-1.5 hover:bg-hover [&::-webkit-details-marker]:hidden">
          <span className="w-14 shrink-0 text-right text-xs text-faint tabular">{position}</span>
          <ActorName actor={entry.actor} className="w-32 shrink-0" />
          <span className="min-w-0 flex-1 truncate">{text}</span>
          {entry.severity === "info" || entry.severity === "low" ? null : <Badge tone={toneOf(entry.severity)}>{entry.severity}</Badge>}
          <code className="hidden shrink-0 font-mono text-2xs text-faint sm:block">{shortHash(entry.hash)}</code>
          <time dateTime={entry.time} className="hidden shrink-0 text-xs text-soft tabular md:block">{dateTime(entry.time)}</time>
        </summary>
        <div className="flex flex-col gap-2 px-3 pb-3 sm:pl-20">
          <dl className="grid grid-cols-[8rem_minmax(0,1fr)] gap-x-3 gap-y-1">
            <dt className="text-soft">{t.audit.type}</dt><dd className="font-mono text-xs">{entry.type}</dd>
            <dt className="text-soft">{t.audit.action}</dt><dd className="break-all">{entry.action}</dd>
            <dt className="text-soft">{t.audit.time}</dt><dd>{dateTime(entry.time)}</dd>
            <dt className="text-soft">{t.audit.hash}</dt><dd className="font-mono text-xs break-all">{entry.hash ?? "–"}</dd>
            <dt className="text-soft">{t.audit.previous}</dt><dd className="font-mono text-xs break-all">{entry.previous_hash ?? "–"}</dd>
          </dl>
          <Json value={entry.data} label={t.audit.data} />
        </div>
      </details>
    </li>
  );
}
