import { useQuery } from "@tanstack/react-query";
import * as queries from "../api/queries";
import type { RunDetail } from "../api/types";
import { compact, count, dateTime } from "../format";
import { History, StateAt, type Panel } from "../history/History";
import { t } from "../i18n/en";
import { Cost } from "../ui/entity";
import { Status } from "../ui/status";
import { waitingSentence } from "./waiting";

/** What happened to a run, and how it stood after any of its events. */
export function RunHistory({ projectId, run, version, onVersion }: { projectId: string; run: RunDetail; version: number | null; onVersion: (version: number | null) => void }) {
  const history = useQuery(queries.runHistory(projectId, run.id));
  return <History query={history} version={version} onVersion={onVersion}>{(at, panel) => <RunAt projectId={projectId} runId={run.id} version={at} panel={panel} />}</History>;
}

function RunAt({ projectId, runId, version, panel }: { projectId: string; runId: string; version: number; panel: Panel }) {
  const then = useQuery(queries.runAt(projectId, runId, version));
  return (
    <StateAt query={then} panel={panel}>
      {(run) => (
        <>
          <dt className="text-soft">{t.jobs.state}</dt><dd><Status value={run.state} /></dd>
          {run.waiting ? <><dt className="text-soft">{t.why.title}</dt><dd>{waitingSentence(run.waiting)}</dd></> : null}
          {run.reason ? <><dt className="text-soft">{t.common.reason}</dt><dd>{run.reason}</dd></> : null}
          <dt className="text-soft">{t.run.maxSteps}</dt><dd className="tabular">{count(run.steps_count)}</dd>
          {run.steps.length > 0 ? <><dt className="text-soft">{t.history.lastSteps}</dt><dd><ol className="flex flex-col gap-0.5">{run.steps.slice(-8).map((step) => <li key={step.id} className="flex items-center gap-2"><span className="font-mono text-xs">{step.number} {step.name}</span><Status value={step.status} /></li>)}</ol></dd></> : null}
          <dt className="text-soft">{t.run.tokens}</dt><dd className="tabular">{compact(run.tokens_in)} / {compact(run.tokens_out)}</dd>
          <dt className="text-soft">{t.run.cost}</dt><dd><Cost real={run.cost_micro_usd} simulated={run.simulated_micro_usd} /></dd>
          {run.ended_at ? <><dt className="text-soft">{t.history.ended}</dt><dd>{dateTime(run.ended_at)}</dd></> : null}
        </>
      )}
    </StateAt>
  );
}
