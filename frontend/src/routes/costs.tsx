import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense } from "react";
import * as queries from "../api/queries";
import type { UsageGroup } from "../api/queries";
import type { Usage } from "../api/types";
import { forecast } from "../costs/forecast";
import { compact, count, dateTime, duration, money } from "../format";
import { t } from "../i18n/en";
import { buttonClass } from "../ui/button";
import { BudgetBar, Simulated } from "../ui/entity";
import { EmptyState, Loaded } from "../ui/feedback";
import { FilterSelect } from "../ui/form";
import { PageFrame, TableFrame } from "../ui/page";
import { Badge, Status } from "../ui/status";
import { useNow } from "../ui/time";

const UsageChart = lazy(() => import("../costs/UsageChart"));
const GROUPS: UsageGroup[] = ["day", "agent", "model", "story"];

export function CostsPage() {
  const { projectId } = useParams({ from: "/app/projects/$projectId/costs" });
  const search = useSearch({ from: "/app/projects/$projectId/costs" });
  const navigate = useNavigate({ from: "/projects/$projectId/costs" });
  const by = GROUPS.find((group) => group === search.by) ?? "day";
  const usage = useQuery(queries.usage(projectId, by));
  const days = useQuery(queries.usage(projectId, "day"));
  return (
    <PageFrame title={t.costs.title} tools={<Link to="/projects/$projectId/settings" params={{ projectId }} search={{ tab: "budget" }} className={buttonClass("outline")}>{t.costs.editBudget}</Link>}>
      <Loaded query={usage}>
        {(data) => (
          <>
            <CostsHeader usage={data} days={days.data} />
            <section aria-label={t.costs.chart} className="mt-4">
              <div className="mb-2 flex items-center gap-2">
                <h2 className="text-md font-semibold">{t.costs.chart}</h2>
                <div className="ml-auto"><FilterSelect label={t.costs.by} value={by} onChange={(value) => void navigate({ search: value === "day" ? {} : { by: value }, replace: true })} options={GROUPS.map((value) => ({ value, label: t.costs.groups[value] }))} /></div>
              </div>
              <div className="card p-3"><Suspense fallback={<div className="skeleton h-56" />}><UsageChart rows={data.rows} byDay={by === "day"} /></Suspense></div>
              <div className="mt-3"><Rows usage={data} by={by} /></div>
            </section>
          </>
        )}
      </Loaded>
      <Calls projectId={projectId} />
    </PageFrame>
  );
}

function CostsHeader({ usage, days }: { usage: Usage; days: Usage | undefined }) {
  const now = useNow();
  const outlook = days ? forecast(days.rows, new Date(now)) : null;
  return (
    <section aria-label={t.costs.title} className="grid gap-3 sm:grid-cols-2 lg:grid-cols-4" data-costs-header>
      <div className="card p-3.5"><p className="text-xs text-soft">{t.costs.real}</p><p className="text-lg font-semibold tabular">{money(usage.total_micro_usd)}</p>{outlook ? <p className="mt-0.5 text-xs text-soft">{t.costs.forecast(money(outlook.endOfMonth))}</p> : null}</div>
      <div className="card border-dashed p-3.5"><p className="text-xs text-soft">{t.costs.simulated}</p><p className="text-lg font-semibold text-soft tabular">{money(usage.simulated_micro_usd)}</p><p className="mt-0.5 text-xs text-soft">{t.costs.simulatedNote}</p></div>
      <div className="card p-3.5"><p className="text-xs text-soft">{t.costs.tokens}</p><p className="text-lg font-semibold tabular">{compact(usage.tokens_in + usage.tokens_out)}</p><p className="mt-0.5 text-xs text-soft tabular">{t.story.tokens(compact(usage.tokens_in), compact(usage.tokens_out))}</p></div>
      <div className="card p-3.5"><p className="mb-2 text-xs text-soft">{t.costs.budget}</p><BudgetBar budget={usage.budget} label={t.costs.budget} /></div>
    </section>
  );
}

function Rows({ usage, by }: { usage: Usage; by: UsageGroup }) {
  if (usage.rows.length === 0) return null;
  return (
    <TableFrame label={t.costs.groups[by]} heads={[t.costs.groups[by], t.costs.real, t.costs.simulated, t.costs.inOut, t.costs.callsCount]}>
      {usage.rows.map((row) => (
        <tr key={row.key} className="hover:bg-hover">
          <td className="px-3 py-1.5">{row.label}</td>
          <td className="px-3 py-1.5 tabular">{money(row.cost_micro_usd)}</td>
          <td className="px-3 py-1.5">{row.simulated_micro_usd > 0 ? <Simulated microUsd={row.simulated_micro_usd} /> : <span className="text-faint">–</span>}</td>
          <td className="px-3 py-1.5 tabular">{compact(row.tokens_in)} / {compact(row.tokens_out)}</td>
          <td className="px-3 py-1.5 tabular">{count(row.calls)}</td>
        </tr>
      ))}
    </TableFrame>
  );
}

function Calls({ projectId }: { projectId: string }) {
  const calls = useQuery(queries.usageCalls(projectId));
  return (
    <section aria-label={t.costs.calls} className="mt-5">
      <h2 className="mb-2 text-md font-semibold">{t.costs.calls}</h2>
      <Loaded query={calls}>
        {(items) => items.length === 0 ? <div className="card"><EmptyState title={t.costs.noCalls} detail={t.costs.noCallsDetail} /></div> : (
          <TableFrame label={t.costs.calls} heads={[t.costs.at, t.costs.agent, t.costs.model, t.costs.inOut, t.costs.latency, t.costs.cost, t.costs.outcome]}>
            {items.map((call) => (
              <tr key={call.id} className="hover:bg-hover">
                <td className="px-3 py-1.5 whitespace-nowrap text-soft">{call.run_id ? <Link to="/projects/$projectId/runs/$runId" params={{ projectId, runId: call.run_id }} className="hover:underline">{dateTime(call.at)}</Link> : dateTime(call.at)}</td>
                <td className="px-3 py-1.5">{call.agent_name ?? "–"}</td>
                <td className="px-3 py-1.5 font-mono text-xs">{call.provider}/{call.model}{call.attempt > 1 ? ` (${t.story.attempt(call.attempt)})` : ""}</td>
                <td className="px-3 py-1.5 tabular">{count(call.tokens_in)} / {count(call.tokens_out)}</td>
                <td className="px-3 py-1.5 tabular">{call.latency_ms === null || call.latency_ms === undefined ? "–" : duration(call.latency_ms)}</td>
                <td className="px-3 py-1.5">{call.simulated ? <Simulated microUsd={call.cost_micro_usd} /> : <span className="tabular">{money(call.cost_micro_usd)}</span>} {call.estimated ? <Badge>{t.costs.estimated}</Badge> : null}</td>
                <td className="px-3 py-1.5"><Status value={call.outcome} /></td>
              </tr>
            ))}
          </TableFrame>
        )}
      </Loaded>
    </section>
  );
}
