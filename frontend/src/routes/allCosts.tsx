import { useQueries, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ChartColumn } from "lucide-react";
import { keys } from "../api/keys";
import * as queries from "../api/queries";
import type { Membership, Project } from "../api/types";
import { budgetAlerts, byMonth, months, overall, type Month } from "../costs/alerts";
import { Budgets } from "../costs/Budgets";
import { MonthTile, monthlyOf } from "../costs/MonthTile";
import { Tile } from "../costs/parts";
import { money, moneyColumn } from "../format";
import { t } from "../i18n/en";
import { managed } from "../shell/project";
import { buttonClass } from "../ui/button";
import { BudgetBar, Simulated } from "../ui/entity";
import { EmptyState, Loaded } from "../ui/feedback";
import { PageFrame, TableFrame } from "../ui/page";
import { Badge } from "../ui/status";

/** What all projects of a person have spent, project by project. */
export function AllCostsPage() {
  const list = useQuery(queries.projects());
  const me = useQuery(queries.me());
  const organisations = me.data ? managed(me.data) : [];
  return (
    <PageFrame title={t.costs.allTitle}>
      <Loaded query={list}>
        {(projects) => projects.length === 0
          ? <div className="card"><EmptyState icon={<ChartColumn size={28} aria-hidden="true" />} title={t.projects.empty} detail={t.projects.emptyDetail} action={<Link to="/projects" search={{ new: "1" }} className={buttonClass("primary")}>{t.projects.create}</Link>} /></div>
          : <Overall projects={projects} organisations={organisations} />}
      </Loaded>
      {organisations.map((one) => <OfOrganisation key={one.id} organisation={one} />)}
    </PageFrame>
  );
}

function OfOrganisation({ organisation }: { organisation: Membership }) {
  const nodes = useQuery(queries.organisationBudgets(organisation.id));
  const usage = useQuery(queries.organisationUsage(organisation.id));
  const month = t.costs.monthOf(organisation.name);
  return (
    <>
      <section aria-label={month} className="mt-6" data-organisation-month={organisation.id}>
        <Loaded query={usage} skeleton={<div className="skeleton h-24" />}>{(data) => <MonthTile label={month} month={data.month} monthly={monthlyOf(nodes.data?.items, "organisation")} />}</Loaded>
      </section>
      <Budgets owner={{ organisation: organisation.id }} title={t.budgets.ofOrganisation(organisation.name)} query={nodes} mayEdit refresh={[keys.organisationBudgets(organisation.id), ["project"]]} />
    </>
  );
}

/** What each project has spent this month is told to who manages its organisation: without one, there is no column of it. */
function Overall({ projects, organisations }: { projects: Project[]; organisations: Membership[] }) {
  const usages = useQueries({ queries: organisations.map((one) => queries.organisationUsage(one.id)) });
  const told = new Map(organisations.flatMap(({ id }, index) => {
    const usage = usages[index]?.data;
    return usage ? [[id, usage] as const] : [];
  }));
  const loading = usages.some((usage) => usage.isPending);
  const failed = new Set(organisations.flatMap(({ id }, index) => (usages[index]?.isError && !told.has(id) ? [id] : [])));
  const isManaged = (project: Project) => organisations.some(({ id }) => id === project.organisation_id);
  const month = months(projects, told);
  const { real, simulated, rows: dearest } = overall(projects);
  const rows = byMonth(dearest, month);
  const right = (label: string) => ({ label, right: true as const });
  const none = <span className="text-faint">–</span>;
  return (
    <>
      <section aria-label={t.costs.allTitle} className="mb-6 grid grid-cols-2 gap-3">
        <Tile label={t.costs.real}><p className="text-lg font-semibold tabular" data-total>{money(real)}</p><p className="mt-1 text-xs text-soft">{t.costs.sinceProjects}</p></Tile>
        <Tile label={t.costs.simulated} className="border-dashed"><p className="text-lg font-semibold text-soft tabular">{simulated > 0 ? "≈ " : ""}{money(simulated)}</p><p className="mt-1 text-xs text-soft">{t.costs.simulatedNote}</p></Tile>
      </section>
      <TableFrame label={t.costs.byProject} heads={[t.costs.project, ...(organisations.length > 0 ? [right(t.costs.thisMonth)] : []), right(t.costs.real), right(t.costs.simulated), t.costs.budget]}>
        {rows.map((project) => {
          const alert = budgetAlerts(project.budget)[0];
          return (
            <tr key={project.id} className="align-top hover:bg-hover" data-project={project.id}>
              <th scope="row" className="px-3 py-2 text-left font-medium"><Link to="/projects/$projectId/costs" params={{ projectId: project.id }} className="hover:underline">{project.name}</Link>{alert ? <Badge tone={alert.fraction >= 1 ? "bad" : "warn"} className="ml-2">{t.costs.near[alert.limit]}</Badge> : null}</th>
              {organisations.length > 0 ? <td className="px-3 py-2 text-right tabular"><OfMonth month={month.get(project.id) ?? null} none={loading ? "…" : failed.has(project.organisation_id) ? t.costs.notLoaded : t.costs.notShown} /></td> : null}
              <td className="px-3 py-2 text-right tabular">{project.spent_micro_usd > 0 ? moneyColumn(project.spent_micro_usd) : none}</td>
              <td className="px-3 py-2 text-right text-soft tabular">{project.simulated_micro_usd > 0 ? moneyColumn(project.simulated_micro_usd) : none}</td>
              <td className="min-w-48 px-3 py-2"><BudgetBar budget={project.budget} label={`${t.costs.budget}: ${project.name}`} /></td>
            </tr>
          );
        })}
      </TableFrame>
      {organisations.map(({ id, name }) => {
        const usage = told.get(id);
        return usage && usage.projects_left_out > 0 ? <p key={id} className="mt-1.5 text-xs text-soft">{t.costs.monthCut(name, usage.projects.length, usage.projects_left_out)}</p> : null;
      })}
      {organisations.map(({ id, name }) => (failed.has(id) ? <p key={id} className="mt-1.5 text-xs text-bad">{t.costs.monthFailed(name)}</p> : null))}
      {organisations.length > 0 && !rows.every(isManaged) && !loading ? <p className="mt-1.5 text-xs text-soft">{t.costs.monthOfManagers}</p> : null}
    </>
  );
}

function OfMonth({ month, none }: { month: Month; none: string }) {
  if (month === null) return <span className="text-faint">{none}</span>;
  if (month.real === 0 && month.simulated === 0) return <span className="text-faint">–</span>;
  if (month.real === 0) return <Simulated short microUsd={month.simulated} />;
  return <span title={month.simulated > 0 ? t.cost.beside(money(month.simulated)) : undefined}>{moneyColumn(month.real)}</span>;
}
