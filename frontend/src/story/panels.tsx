import { useQuery } from "@tanstack/react-query";
import { CircleCheck, CircleX } from "lucide-react";
import { lazy, Suspense } from "react";
import * as queries from "../api/queries";
import type { LineComment, Story } from "../api/types";
import { dateTime, duration, shortHash } from "../format";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Disclosure } from "../ui/disclosure";
import { ActorName, Json } from "../ui/entity";
import { EmptyState, InlineError, Loaded, Notice, SkeletonRows } from "../ui/feedback";
import { Status, labelOf } from "../ui/status";
import { Ago } from "../ui/time";
import { ownerName } from "./owner";

const DiffViewer = lazy(() => import("../diff/DiffViewer"));

export function Changes({ story }: { story: Story }) {
  const changes = useQuery(queries.storyChanges(story.project_id, story.id));
  const pull = useQuery({ ...queries.pullRequest(story.project_id, story.pull_request_id ?? ""), enabled: Boolean(story.pull_request_id) });
  const sent = (pull.data?.comments ?? []).flatMap((comment): LineComment[] => (comment.path && comment.line ? [{ path: comment.path, line: comment.line, side: comment.side === "old" ? "old" : "new", body: comment.body }] : []));
  return (
    <div className="pt-4">
      <Loaded query={changes}>
        {(diff) => diff === null || diff.files.length === 0 ? <EmptyState title={t.diff.none} detail={t.diff.noneDetail} /> : (
          <Suspense fallback={<SkeletonRows rows={8} />}><DiffViewer diff={diff} sent={sent} /></Suspense>
        )}
      </Loaded>
    </div>
  );
}

export function Tests({ story }: { story: Story }) {
  const tests = useQuery(queries.storyTests(story.project_id, story.id));
  return (
    <div className="pt-4">
      <Loaded query={tests}>
        {(runs) => runs.length === 0 ? <EmptyState title={t.story.noTests} detail={t.story.noTestsDetail} /> : (
          <ol className="flex flex-col gap-3">
            {runs.map((run, index) => (
              <li key={run.id} className="card overflow-hidden">
                <div className="flex flex-wrap items-center gap-x-3 gap-y-1 border-b border-line px-3 py-2">
                  {run.passed ? <CircleCheck size={16} className="text-ok" aria-hidden="true" /> : <CircleX size={16} className="text-bad" aria-hidden="true" />}
                  <span className="font-medium">{run.passed ? t.story.passed : t.story.testFailed}</span>
                  <code className="min-w-0 truncate font-mono text-xs">{run.command}</code>
                  <span className="ml-auto flex flex-wrap gap-3 text-soft tabular"><span>{t.story.exit(run.exit_code ?? null)}</span><span>{duration(run.duration_ms)}</span><span className="font-mono text-xs">{shortHash(run.commit)}</span><Ago at={run.at} /></span>
                </div>
                <Disclosure open={index === 0} className="px-3 py-2" summary={`${t.story.testOutput} · ${t.story.isolation}: ${run.isolation}`}>
                  <div className="mt-2"><Json value={run.output || "–"} label={t.story.testOutput} /></div>
                </Disclosure>
              </li>
            ))}
          </ol>
        )}
      </Loaded>
    </div>
  );
}

export function History({ story, version, onVersion }: { story: Story; version: number | null; onVersion: (version: number | null) => void }) {
  const history = useQuery(queries.storyHistory(story.project_id, story.id));
  return (
    <div className="grid items-start gap-4 pt-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,1fr)]">
      <Loaded query={history}>
        {(items) => (
          <ol className="card divide-y divide-line" aria-label={t.story.tabs.history}>
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
      {version === null ? null : <StateAt story={story} version={version} data={history.data?.find((item) => item.version === version)?.data} onClose={() => onVersion(null)} />}
    </div>
  );
}

function StateAt({ story, version, data, onClose }: { story: Story; version: number; data: unknown; onClose: () => void }) {
  const then = useQuery(queries.storyAt(story.project_id, story.id, version));
  return (
    <section aria-label={t.story.stateAt(version)} className="card p-3.5 lg:sticky lg:top-3">
      <div className="mb-2 flex items-center gap-2"><h3 className="font-semibold">{t.story.stateAt(version)}</h3><Button tone="ghost" className="ml-auto" onClick={onClose}>{t.story.backToNow}</Button></div>
      <Notice tone="info">{t.story.stateAtHelp}</Notice>
      {then.isError ? <div className="mt-2"><InlineError error={then.error} onRetry={() => void then.refetch()} /></div> : null}
      {then.data ? (
        <dl className="mt-3 grid grid-cols-[8rem_minmax(0,1fr)] gap-x-3 gap-y-1.5">
          <dt className="text-soft">{t.board.phase}</dt><dd><Status value={then.data.phase} /></dd>
          <dt className="text-soft">{t.board.storyTitle}</dt><dd>{then.data.title}</dd>
          <dt className="text-soft">{t.story.owner}</dt><dd>{ownerName(then.data)}</dd>
          <dt className="text-soft">{t.board.updated}</dt><dd>{dateTime(then.data.updated_at)}</dd>
          {then.data.blocked_reason ? <><dt className="text-soft">{labelOf("blocked")}</dt><dd>{then.data.blocked_reason}</dd></> : null}
          {then.data.acceptance_criteria.length > 0 ? <><dt className="text-soft">{t.story.criteria}</dt><dd><ul className="list-disc pl-4.5">{then.data.acceptance_criteria.map((text) => <li key={text}>{text}</li>)}</ul></dd></> : null}
        </dl>
      ) : then.isPending ? <SkeletonRows rows={3} className="mt-3" /> : null}
      {data === undefined || data === null ? null : <div className="mt-3"><h4 className="mb-1 text-xs font-medium text-soft">{t.story.event}</h4><Json value={data} label={t.story.event} /></div>}
    </section>
  );
}
