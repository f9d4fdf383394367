import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import * as queries from "../api/queries";
import { count, dateTime, duration } from "../format";
import { t } from "../i18n/en";
import { InlineError } from "../ui/feedback";
import { TableFrame } from "../ui/page";
import { Badge, Status } from "../ui/status";
import { failureOf } from "./health";

/** What is shown of an attempt, wherever it comes from. */
interface Attempt {
  attempt: number;
  deployment: string;
  provider: string;
  model: string;
  outcome: string;
  from_cache?: boolean;
  error_kind?: string | null;
  error?: string | null;
  first_content_ms?: number | null;
  latency_ms?: number | null;
}

/** A deployment that was passed over. A run may have done so again and again within one call. */
interface Skip {
  deployment: string;
  reason: string;
  kind?: string;
  times?: number;
  at?: string;
}

const NUMBER = "px-3 py-2 text-right whitespace-nowrap tabular";
const CAUSE = "max-w-80 min-w-32 px-3 py-2 text-xs break-words";
const right = (label: string) => ({ label, right: true as const });
const time = (ms: number | null | undefined) => (ms === null || ms === undefined ? "–" : duration(ms));

/** Every attempt with its cause and its time, and whom the call passed over. */
export function WayTable({ attempts, skipped, label = t.playground.way }: { attempts: Attempt[]; skipped: Skip[]; label?: string }) {
  return (
    <TableFrame label={label} heads={[right(t.playground.attempt), t.gateway.deployment, t.playground.outcome, right(t.gateway.firstToken), right(t.playground.time), t.playground.cause]}>
      {attempts.map((attempt) => (
        <tr key={attempt.attempt} className="align-top" data-attempt={attempt.outcome}>
          <td className={NUMBER}>{attempt.attempt}</td>
          <th scope="row" className="px-3 py-2 text-left font-normal"><span className="block font-medium">{attempt.deployment}</span><span className="block font-mono text-xs break-words text-soft">{attempt.provider}/{attempt.model}</span></th>
          <td className="px-3 py-2">{attempt.from_cache ? <Badge tone="info">{t.costs.fromCache}</Badge> : attempt.outcome === "settled" ? <Badge tone="ok">{t.playground.answered}</Badge> : <Status value={attempt.outcome} />}</td>
          <td className={NUMBER}>{time(attempt.first_content_ms)}</td>
          <td className={NUMBER}>{time(attempt.latency_ms)}</td>
          <td className={CAUSE}>{attempt.error ? failureOf(attempt.error_kind, attempt.error) : <span className="text-faint">–</span>}</td>
        </tr>
      ))}
      {skipped.map((one) => (
        <tr key={`skipped ${one.deployment} ${one.kind ?? ""}`} className="align-top text-soft" data-attempt="skipped">
          <td className={NUMBER}>–</td>
          <th scope="row" className="px-3 py-2 text-left font-medium">{one.deployment}</th>
          <td className="px-3 py-2"><Badge>{t.playground.skipped}</Badge></td>
          <td className={NUMBER}>–</td>
          <td className={NUMBER}>–</td>
          <td className={CAUSE}>{one.reason}{one.at && one.times && one.times > 1 ? <span className="block">{t.playground.skippedTimes(count(one.times), dateTime(one.at))}</span> : null}</td>
        </tr>
      ))}
    </TableFrame>
  );
}

/** The way that a recorded call took; it is asked for when it is looked at. */
export function CallWay({ projectId, callId, none = <p className="text-xs text-soft">{t.playground.noWay}</p> }: { projectId: string; callId: string; none?: ReactNode }) {
  const way = useQuery(queries.usageCall(projectId, callId));
  if (way.data) return <div data-call-way={callId}><h4 className="mb-1 text-xs font-medium text-soft">{t.playground.way}</h4><WayTable attempts={way.data.attempts} skipped={way.data.skipped} label={`${t.playground.way}: ${callId}`} /></div>;
  if (way.data === null) return <>{none}</>;
  if (way.isError) return <InlineError error={way.error} onRetry={() => void way.refetch()} />;
  return <div role="status"><span className="sr-only">{t.common.loading}</span><div className="skeleton h-16 w-full max-w-md" /></div>;
}
