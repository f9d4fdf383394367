import { skipToken, useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { ArrowUp } from "lucide-react";
import { Fragment, useEffect, useRef } from "react";
import { actorNameOf, matchesFilter, mayGoOn, objectOf, targetOf, unseen, verbOf } from "../activity/sentence";
import { keys } from "../api/keys";
import { ACTIVITY_MAX } from "../api/live";
import * as queries from "../api/queries";
import type { EventEnvelope, Page } from "../api/types";
import { dateTime, dayKey, dayName, timeOfDay } from "../format";
import { t } from "../i18n/en";
import { useNames } from "../shell/names";
import { Button } from "../ui/button";
import { ActorIcon } from "../ui/entity";
import { EmptyState, InlineError, SkeletonRows } from "../ui/feedback";
import { FilterSelect } from "../ui/form";
import { PageFrame } from "../ui/page";
import { Dot, toneOf } from "../ui/status";

export function ActivityPage() {
  const { projectId } = useParams({ from: "/app/projects/$projectId/activity" });
  const filter = useSearch({ from: "/app/projects/$projectId/activity" });
  const navigate = useNavigate({ from: "/projects/$projectId/activity" });
  const client = useQueryClient();
  const past = useInfiniteQuery(queries.events(projectId));
  const live = useQuery<Page<EventEnvelope>>({ queryKey: keys.liveActivity(projectId), queryFn: skipToken });
  const top = useRef<HTMLDivElement>(null);
  const pages = past.data?.pages.map((page) => page.items) ?? [];
  const fetched = pages.flat();
  const waiting = past.data ? unseen(live.data?.items ?? [], fetched).filter((event) => matchesFilter(event, filter)) : [];
  const all = fetched.filter((event) => matchesFilter(event, filter));
  const names = useNames(projectId);
  const filtered = Boolean(filter.actor || filter.family);
  const set = (name: "actor" | "family") => (value: string) => void navigate({ search: (known) => ({ ...known, [name]: value || undefined }), replace: true });
  const options = (labels: Record<string, string>, title: string) => [{ value: "", label: `${title}: ${t.common.all}` }, ...Object.entries(labels).map(([value, label]) => ({ value, label }))];
  // The server is asked for what is new, from its newest on: what came live may have a gap, and nothing is kept twice.
  const showNew = () => {
    client.setQueryData(keys.events(projectId), (known: typeof past.data) => known && { pages: known.pages.slice(0, 1), pageParams: known.pageParams.slice(0, 1) });
    void past.refetch();
    top.current?.scrollIntoView({ block: "end" });
  };
  return (
    <PageFrame title={t.activity.title} tools={<>
      <FilterSelect label={t.activity.actor} value={filter.actor ?? ""} onChange={set("actor")} options={options(t.activity.actors, t.activity.actor)} />
      <FilterSelect label={t.activity.family} value={filter.family ?? ""} onChange={set("family")} options={options(t.activity.families, t.activity.family)} />
    </>}>
      <div ref={top} />
      <div aria-live="polite" className="pointer-events-none sticky top-2 z-10 flex h-0 justify-center">
        {waiting.length > 0 ? (
          <button type="button" data-pill onClick={showNew} className="pointer-events-auto flex h-7 items-center gap-1 rounded-full bg-accent-fill px-3 text-xs font-medium text-white shadow-lg">
            <ArrowUp size={13} aria-hidden="true" />{t.activity.pill(waiting.length, (live.data?.items.length ?? 0) >= ACTIVITY_MAX)}
          </button>
        ) : null}
      </div>
      {past.isError ? <InlineError error={past.error} onRetry={() => void past.refetch()} /> : null}
      {past.isPending ? <SkeletonRows rows={10} /> : null}
      {past.data ? (
        all.length === 0 && !past.hasNextPage ? <div className="card"><EmptyState title={filtered ? t.activity.noMatch : t.activity.empty} detail={filtered ? undefined : t.activity.emptyDetail} action={filtered ? <Button onClick={() => void navigate({ search: {} })}>{t.common.clearFilters}</Button> : null} /></div> : (
          <>
            {all.length > 0 ? (
              <ol aria-label={t.activity.feed} className="card divide-y divide-line overflow-hidden">
                {all.map((event, index) => (
                  <Fragment key={event.id ?? `${event.seq}-${event.type}`}>
                    {index > 0 && dayKey(all[index - 1]?.time ?? "") === dayKey(event.time) ? null : <li className="bg-well px-3 py-1 text-xs font-medium text-soft">{dayName(event.time)}</li>}
                    <EventRow event={event} names={names} />
                  </Fragment>
                ))}
              </ol>
            ) : null}
            {filtered && past.hasNextPage && fetched.length > 0 ? <p className="pt-3 text-center text-xs text-soft">{t.activity.searched(dateTime(fetched.at(-1)?.time ?? ""))}</p> : null}
            <More has={past.hasNextPage} busy={past.isFetchingNextPage} auto={mayGoOn(pages, filter)} onMore={() => void past.fetchNextPage()} />
          </>
        )
      ) : null}
    </PageFrame>
  );
}

/** Loads the next page when its button comes into view; the button remains for the keyboard. */
export function More({ has, busy, onMore, auto = true }: { has: boolean; busy: boolean; onMore: () => void; auto?: boolean }) {
  const ref = useRef<HTMLDivElement>(null);
  const load = useRef(onMore);
  useEffect(() => {
    load.current = onMore;
  });
  useEffect(() => {
    if (!has || busy || !auto || !ref.current || typeof IntersectionObserver === "undefined") return undefined;
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) load.current();
    });
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, [has, busy, auto]);
  if (!has) return null;
  return <div ref={ref} className="flex justify-center py-4"><Button busy={busy} onClick={onMore}>{t.common.more}</Button></div>;
}

function EventRow({ event, names }: { event: EventEnvelope; names: ReadonlyMap<string, string> }) {
  const who = names.get(event.actor_id ?? "") || actorNameOf(event) || t.actor.kind(event.actor_type ?? "system");
  const object = objectOf(event, names);
  return (
    <li className="flex items-center gap-2.5 px-3 py-1.5">
      <ActorIcon type={event.actor_type} size={15} />
      <p className="min-w-0 flex-1 truncate max-sm:line-clamp-2 max-sm:break-words max-sm:whitespace-normal"><span className="font-medium">{who}</span> <span className="text-soft">{verbOf(event)}</span> <Entity event={event} text={object} /></p>
      <span className="hidden w-48 items-center gap-1.5 font-mono text-2xs text-faint lg:flex"><Dot tone={toneOf(event.type.split(".")[1] ?? "")} />{event.type}</span>
      <time dateTime={event.time} title={dateTime(event.time)} className="shrink-0 text-xs text-soft tabular">{timeOfDay(event.time)}</time>
    </li>
  );
}

function Entity({ event, text }: { event: EventEnvelope; text: string }) {
  const target = targetOf(event);
  if (!text) return null;
  if (target === null) return <span>{text}</span>;
  const link = "text-accent underline decoration-line-strong underline-offset-2 hover:decoration-current";
  const p = event.project_id;
  if (target.kind === "story") return <Link to="/projects/$projectId/stories/$storyId" params={{ projectId: p, storyId: target.id }} className={link}>{text}</Link>;
  if (target.kind === "run") return <Link to="/projects/$projectId/runs/$runId" params={{ projectId: p, runId: target.id }} className={link}>{text}</Link>;
  return <Link to="/projects/$projectId/approvals/$approvalId" params={{ projectId: p, approvalId: target.id }} className={link}>{text}</Link>;
}
