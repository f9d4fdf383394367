import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { ChevronRight } from "lucide-react";
import { Fragment, useId, useState } from "react";
import * as queries from "../api/queries";
import type { UsageCall } from "../api/types";
import { count, dateTime, duration, moneyColumn } from "../format";
import { failureOf } from "../gateway/health";
import { CallWay } from "../gateway/Way";
import { t } from "../i18n/en";
import { EmptyState, Loaded } from "../ui/feedback";
import { SearchInput } from "../ui/form";
import { TableFrame } from "../ui/page";
import { Badge, Status } from "../ui/status";
import { isCallId } from "./calls";

const right = (label: string) => ({ label, right: true as const });
const HEADS = [t.costs.at, t.costs.askedBy, t.costs.model, right(t.costs.tokensInOut), right(t.costs.latency), right(t.costs.cost), t.costs.outcome, t.costs.cause];
const NUMBER = "px-3 py-1.5 text-right whitespace-nowrap tabular";
const NOTHING = <span className="text-faint">–</span>;

/** The latest attempts of a project's calls, or those of the one whose id its client was told. */
export function Calls({ projectId }: { projectId: string }) {
  const [wanted, setWanted] = useState("");
  const asked = isCallId(wanted);
  const calls = useQuery({ ...queries.usageCalls(projectId, asked ? wanted : undefined), enabled: asked || wanted === "" });
  const none = <div className="card"><EmptyState title={t.costs.noSuchCall} detail={t.costs.noSuchCallDetail} /></div>;
  return (
    <section aria-label={t.costs.calls} className="mt-6">
      <div className="mb-2 flex flex-wrap items-center gap-x-3 gap-y-2">
        <h2 className="text-md font-semibold">{t.costs.calls}</h2>
        <div className="ml-auto max-w-full"><SearchInput label={t.costs.callId} value={wanted} onChange={setWanted} className="w-72 max-w-full" /></div>
      </div>
      {wanted !== "" && !asked ? none : (
        <Loaded query={calls}>
          {(items) => items.length > 0 ? <Table projectId={projectId} items={items} /> : asked ? <CallWay projectId={projectId} callId={wanted} none={none} /> : <div className="card"><EmptyState title={t.costs.noCalls} detail={t.costs.noCallsDetail} /></div>}
        </Loaded>
      )}
    </section>
  );
}

function Table({ projectId, items }: { projectId: string; items: UsageCall[] }) {
  return (
    <div className="@container">
      <TableFrame label={t.costs.calls} wide heads={HEADS}>
        {items.map((call) => <Row key={call.id} projectId={projectId} call={call} />)}
      </TableFrame>
    </div>
  );
}

/** An attempt; opened, it shows the way of the whole call. */
function Row({ projectId, call }: { projectId: string; call: UsageCall }) {
  const [open, setOpen] = useState(false);
  const details = useId();
  const at = dateTime(call.at);
  return (
    <Fragment>
      <tr className="align-top hover:bg-hover" data-call={call.call_id}>
        <td className="px-3 py-1.5 whitespace-nowrap text-soft">
          <button type="button" aria-expanded={open} aria-controls={open ? details : undefined} aria-label={t.costs.showWay(call.deployment, at)} onClick={() => setOpen(!open)} className="mr-1 -ml-1.5 inline-flex size-6 items-center justify-center rounded align-middle text-faint hover:bg-raised hover:text-ink">
            <ChevronRight size={13} aria-hidden="true" className={clsx("transition-transform", open && "rotate-90")} />
          </button>
          {call.run_id ? <Link to="/projects/$projectId/runs/$runId" params={{ projectId, runId: call.run_id }} className="hover:underline">{at}</Link> : at}
        </td>
        <td className="max-w-32 px-3 py-1.5 break-words"><AskedBy call={call} /></td>
        <td className="max-w-56 px-3 py-1.5 break-words">
          <span className="block">{call.deployment}</span>
          <span className="block font-mono text-xs text-soft">{call.provider}/{call.model}{call.attempt > 1 ? ` (${t.story.attempt(call.attempt)})` : ""}</span>
          <Marks call={call} />
        </td>
        <td className={NUMBER}>{count(call.tokens_in)} / {count(call.tokens_out)}</td>
        <Latency call={call} />
        <td className={clsx(NUMBER, call.simulated && "text-soft")} title={call.simulated ? t.cost.simulatedHelp : undefined}>{call.simulated ? <>≈ {moneyColumn(call.cost_micro_usd)}<span className="sr-only"> {t.cost.allSimulated}</span></> : moneyColumn(call.cost_micro_usd)}</td>
        <td className="px-3 py-1.5"><Status value={call.outcome} /></td>
        <td className="max-w-80 min-w-44 px-3 py-1.5 text-xs">{call.error ? <span className="line-clamp-5 break-words" title={call.error}>{failureOf(call.error_kind, call.error)}</span> : NOTHING}</td>
      </tr>
      {open ? (
        <tr id={details} data-call-details={call.call_id}>
          {/* Where the list scrolls sideways, what is opened is as wide as what is seen of it, and scrolls by itself. */}
          <td colSpan={HEADS.length} className="bg-raised p-0"><div className="sticky left-0 max-w-[calc(100cqw-2px)] px-3 py-2 whitespace-normal"><CallWay projectId={projectId} callId={call.call_id} /></div></td>
        </tr>
      ) : null}
    </Fragment>
  );
}

/** Who asked: an agent or a person, where one is known, and the key that the call came in with. */
function AskedBy({ call }: { call: UsageCall }) {
  const who = call.agent_name ?? call.user_name;
  if (!who && !call.key_name) return NOTHING;
  return (
    <>
      {who}
      {call.key_name ? <span className={clsx("block", who && "text-xs text-soft")}>{call.key_name}</span> : null}
    </>
  );
}

function Latency({ call: { latency_ms: all, first_content_ms: first } }: { call: UsageCall }) {
  const is = (ms: number | null | undefined): ms is number => ms !== null && ms !== undefined;
  return (
    <td className={NUMBER}>
      {is(all) ? duration(all) : NOTHING}
      {is(first) ? <span className="ml-auto block w-24 text-xs whitespace-normal text-soft">{t.costs.firstContent(duration(first))}</span> : null}
    </td>
  );
}

/** What is special about it. */
function Marks({ call }: { call: UsageCall }) {
  return (
    <div className="flex flex-wrap gap-1 not-empty:mt-1">
      {call.from_cache ? <span title={t.costs.fromCacheHelp}><Badge tone="info">{t.costs.fromCache}</Badge></span> : null}
      {call.downgraded_to ? <span title={t.costs.downgradedHelp}><Badge tone="warn">{t.costs.downgraded(call.downgraded_to)}</Badge></span> : null}
      {call.skipped > 0 ? <span title={t.costs.passedOverHelp}><Badge tone="warn">{t.costs.passedOver(call.skipped)}</Badge></span> : null}
      {call.unpriced ? <span title={t.gateway.priceUnknownHelp}><Badge tone="warn">{t.costs.unpriced}</Badge></span> : null}
      {call.estimated ? <span title={t.costs.estimatedHelp}><Badge>{t.costs.estimated}</Badge></span> : null}
    </div>
  );
}
