import type { UseQueryResult } from "@tanstack/react-query";
import { ChevronLeft, ChevronRight } from "lucide-react";
import type { ReactNode } from "react";
import type { HistoryItem } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { ActorName, Json } from "../ui/entity";
import { InlineError, Loaded, Notice, SkeletonRows } from "../ui/feedback";
import { Status } from "../ui/status";
import { Ago } from "../ui/time";

/** The events of one thing, newest first, and beside them the state after the chosen one. */
export function History({ query, version, onVersion, children }: {
  query: UseQueryResult<HistoryItem[]>;
  version: number | null;
  onVersion: (version: number | null) => void;
  /** The state at a version. */
  children: (version: number, panel: Panel) => ReactNode;
}) {
  const last = query.data?.at(-1)?.version ?? 0;
  return (
    <div className="grid items-start gap-4 pt-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,1fr)]">
      <Loaded query={query}>
        {(items) => (
          <ol className="card divide-y divide-line" aria-label={t.history.title}>
            {items.toReversed().map((item) => (
              <li key={item.version}>
                <button type="button" aria-pressed={item.version === version} onClick={() => onVersion(item.version)} className={`flex w-full flex-wrap items-center gap-x-3 px-3 py-2 text-left -outline-offset-2 hover:bg-hover ${item.version === version ? "bg-accent-wash" : ""}`}>
                  <span className="w-8 text-faint tabular">{t.common.version(item.version)}</span>
                  <span className="font-mono text-xs">{item.type}</span>
                  {item.phase ? <Status value={item.phase} /> : null}
                  <span className="ml-auto flex items-center gap-3 text-soft"><ActorName actor={item.actor} /><Ago at={item.at} /></span>
                </button>
              </li>
            ))}
          </ol>
        )}
      </Loaded>
      {version === null
        ? <p className="text-soft max-lg:hidden">{t.history.pick}</p>
        : children(version, { version, last, data: query.data?.find((item) => item.version === version)?.data, onVersion })}
    </div>
  );
}

export interface Panel {
  version: number;
  last: number;
  data: unknown;
  onVersion: (version: number | null) => void;
}

/** The state after one event, with the event itself, and the way to its neighbours. */
export function StateAt<D>({ query, panel, children }: { query: UseQueryResult<D>; panel: Panel; children: (then: D) => ReactNode }) {
  const { version, last, data, onVersion } = panel;
  return (
    <section aria-label={t.story.stateAt(version)} className="card p-3.5 lg:sticky lg:top-3">
      <div className="mb-2 flex flex-wrap items-center gap-1">
        <h3 className="mr-auto font-semibold">{t.story.stateAt(version)}</h3>
        <Button tone="ghost" aria-label={t.history.earlier} disabled={version <= 1} onClick={() => onVersion(version - 1)}><ChevronLeft size={14} aria-hidden="true" /></Button>
        <Button tone="ghost" aria-label={t.history.later} disabled={version >= last} onClick={() => onVersion(version + 1)}><ChevronRight size={14} aria-hidden="true" /></Button>
        <Button tone="ghost" onClick={() => onVersion(null)}>{t.story.backToNow}</Button>
      </div>
      <Notice tone="info">{t.story.stateAtHelp}</Notice>
      {query.isError ? <div className="mt-2"><InlineError error={query.error} onRetry={() => void query.refetch()} /></div> : null}
      {query.data ? <dl className="mt-3 grid grid-cols-[8rem_minmax(0,1fr)] gap-x-3 gap-y-1.5">{children(query.data)}</dl> : query.isPending ? <SkeletonRows rows={3} className="mt-3" /> : null}
      {data === undefined || data === null ? null : <div className="mt-3"><h4 className="mb-1 text-xs font-medium text-soft">{t.story.event}</h4><Json value={data} label={t.story.event} /></div>}
    </section>
  );
}
