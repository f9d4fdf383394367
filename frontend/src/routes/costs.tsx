import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Download } from "lucide-react";
import { lazy, Suspense } from "react";
import { download } from "../api/download";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { UsageGroup } from "../api/queries";
import type { BudgetNode, Usage } from "../api/types";
import { Budgets } from "../costs/Budgets";
import { Calls } from "../costs/Calls";
import { MonthTile, monthlyOf } from "../costs/MonthTile";
import { NodeAlerts, Tile } from "../costs/parts";
import { compact, count, money, moneyColumn } from "../format";
import { t } from "../i18n/en";
import { can } from "../shell/project";
import { Button, buttonClass } from "../ui/button";
import { BudgetBar } from "../ui/entity";
import { Loaded } from "../ui/feedback";
import { FilterSelect } from "../ui/form";
import { PageFrame, TableFrame } from "../ui/page";
import { useNow } from "../ui/time";
import { toastError } from "../ui/toast";

const UsageChart = lazy(() => import("../costs/UsageChart"));
const GROUPS: UsageGroup[] = ["day", "agent", "model", "story", "key"];

export function CostsPage() {
  const { projectId } = useParams({ from: "/app/projects/$projectId/costs" });
  const search = useSearch({ from: "/app/projects/$projectId/costs" });
  const navigate = useNavigate({ from: "/projects/$projectId/costs" });
  const by = GROUPS.find((group) => group === search.by) ?? "day";
  const usage = useQuery({ ...queries.usage(projectId, by), placeholderData: keepPreviousData });
  const nodes = useQuery(queries.budgets(projectId));
  const project = useQuery(queries.project(projectId));
  const now = useNow();
  return (
    <PageFrame title={t.costs.title} tools={<Tools projectId={projectId} />}>
      <Loaded query={usage}>
        {(data) => (
          <>
            <NodeAlerts projectId={projectId} nodes={nodes.data?.items ?? []} />
            <CostsHeader usage={data} monthly={monthlyOf(nodes.data?.items, "project")} />
            <section aria-label={t.costs.chart} className="mt-6">
              <div className="mb-2 flex items-center gap-2">
                <h2 className="text-md font-semibold">{by === "day" ? t.costs.chartDays : t.costs.chart}</h2>
                <div className="ml-auto"><FilterSelect label={t.costs.by} value={by} onChange={(value) => void navigate({ search: value === "day" ? {} : { by: value }, replace: true })} options={GROUPS.map((value) => ({ value, label: `${t.costs.by}: ${t.costs.groups[value]}` }))} /></div>
              </div>
              {usage.isPlaceholderData ? <div className="skeleton h-72" /> : <>
                <div className="card p-4"><Suspense fallback={<div className="skeleton h-56" />}><UsageChart rows={data.rows} byDay={by === "day"} today={new Date(now)} /></Suspense></div>
                <div className="mt-3"><Rows usage={data} by={by} /></div>
              </>}
            </section>
          </>
        )}
      </Loaded>
      <Budgets owner={{ project: projectId }} title={t.budgets.title} query={nodes} mayEdit={can(project.data?.role, "administer")} refresh={[keys.budget(projectId), keys.usage(projectId), keys.project(projectId), keys.projects(), keys.runs(projectId), keys.gatewayKeys(projectId)]} />
      <Calls projectId={projectId} />
    </PageFrame>
  );
}

function Tools({ projectId }: { projectId: string }) {
  return (
    <>
      <Link to="/costs" className={buttonClass("ghost")}>{t.costs.allTitle}</Link>
      <Button onClick={() => void download(`/projects/${projectId}/usage/export`, "usage.csv").catch(toastError)}><Download size={14} aria-hidden="true" />{t.costs.export}</Button>
      <Link to="/projects/$projectId/settings" params={{ projectId }} search={{ tab: "budget" }} className={buttonClass("outline")}>{t.costs.editBudget}</Link>
    </>
  );
}

function CostsHeader({ usage, monthly }: { usage: Usage; monthly: BudgetNode | undefined }) {
  return (
    <section aria-label={t.costs.title} className="grid grid-cols-2 gap-3 lg:grid-cols-[1.6fr_1fr_1fr_1fr]" data-costs-header>
      <MonthTile label={t.costs.month} month={usage.month} monthly={monthly} className="max-lg:col-span-2" />
      <Tile label={t.costs.real}>
        <p className="text-lg font-semibold tabular">{money(usage.total_micro_usd)}</p>
        <p className="mt-1 text-xs text-soft">{t.costs.sinceStart}</p>
        {usage.budget.hard_limit_micro_usd === null || usage.budget.hard_limit_micro_usd === undefined ? null : <div className="mt-2"><BudgetBar budget={usage.budget} label={t.costs.allTime} /></div>}
      </Tile>
      <Tile label={t.costs.simulated} className="border-dashed"><p className="text-lg font-semibold text-soft tabular">{usage.simulated_micro_usd > 0 ? "≈ " : ""}{money(usage.simulated_micro_usd)}</p><p className="mt-1 text-xs text-soft">{t.costs.simulatedNote}</p></Tile>
      <Tile label={t.costs.tokens} className="max-lg:col-span-2"><p className="text-lg font-semibold tabular">{compact(usage.tokens_in + usage.tokens_out)}</p><p className="mt-1 text-xs text-soft tabular">{t.story.tokens(compact(usage.tokens_in), compact(usage.tokens_out))}</p></Tile>
    </section>
  );
}

function Rows({ usage, by }: { usage: Usage; by: UsageGroup }) {
  if (usage.rows.length === 0) return null;
  const rows = by === "day" ? usage.rows.toReversed() : usage.rows.toSorted((a, b) => b.cost_micro_usd + b.simulated_micro_usd - a.cost_micro_usd - a.simulated_micro_usd);
  const right = (label: string) => ({ label, right: true as const });
  return (
    <TableFrame label={t.costs.groups[by]} heads={[t.costs.groups[by], right(t.costs.real), right(t.costs.simulated), right(t.costs.tokensIn), right(t.costs.tokensOut), right(t.costs.callsCount)]}>
      {rows.map((row) => (
        <tr key={row.key} className="hover:bg-hover">
          <td className="max-w-sm truncate px-3 py-1.5">{row.label}</td>
          <td className="px-3 py-1.5 text-right tabular">{row.cost_micro_usd > 0 ? moneyColumn(row.cost_micro_usd) : <span className="text-faint">–</span>}</td>
          <td className="px-3 py-1.5 text-right text-soft tabular">{row.simulated_micro_usd > 0 ? moneyColumn(row.simulated_micro_usd) : <span className="text-faint">–</span>}</td>
          <td className="px-3 py-1.5 text-right tabular">{count(row.tokens_in)}</td>
          <td className="px-3 py-1.5 text-right tabular">{count(row.tokens_out)}</td>
          <td className="px-3 py-1.5 text-right tabular">{count(row.calls)}</td>
        </tr>
      ))}
    </TableFrame>
  );
}
