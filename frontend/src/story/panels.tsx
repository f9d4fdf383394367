import { useQuery } from "@tanstack/react-query";
import { CircleCheck, CircleX } from "lucide-react";
import { lazy, Suspense } from "react";
import * as queries from "../api/queries";
import type { LineComment, Story } from "../api/types";
import { dateTime, duration, shortHash } from "../format";
import { History, StateAt, type Panel } from "../history/History";
import { t } from "../i18n/en";
import { Disclosure } from "../ui/disclosure";
import { Json } from "../ui/entity";
import { EmptyState, Loaded, SkeletonRows } from "../ui/feedback";
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

export function StoryHistory({ story, version, onVersion }: { story: Story; version: number | null; onVersion: (version: number | null) => void }) {
  const history = useQuery(queries.storyHistory(story.project_id, story.id));
  return <History query={history} version={version} onVersion={onVersion}>{(at, panel) => <StoryAt story={story} version={at} panel={panel} />}</History>;
}

function StoryAt({ story, version, panel }: { story: Story; version: number; panel: Panel }) {
  const then = useQuery(queries.storyAt(story.project_id, story.id, version));
  return (
    <StateAt query={then} panel={panel}>
      {(at) => (
        <>
          <dt className="text-soft">{t.board.phase}</dt><dd><Status value={at.phase} /></dd>
          <dt className="text-soft">{t.board.storyTitle}</dt><dd>{at.title}</dd>
          <dt className="text-soft">{t.story.owner}</dt><dd>{ownerName(at)}</dd>
          <dt className="text-soft">{t.board.updated}</dt><dd>{dateTime(at.updated_at)}</dd>
          {at.blocked_reason ? <><dt className="text-soft">{labelOf("blocked")}</dt><dd>{at.blocked_reason}</dd></> : null}
          {at.acceptance_criteria.length > 0 ? <><dt className="text-soft">{t.story.criteria}</dt><dd><ul className="list-disc pl-4.5">{at.acceptance_criteria.map((text) => <li key={text}>{text}</li>)}</ul></dd></> : null}
        </>
      )}
    </StateAt>
  );
}
