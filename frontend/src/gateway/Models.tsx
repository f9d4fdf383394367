import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { ChevronRight, Waypoints } from "lucide-react";
import { Fragment } from "react";
import * as queries from "../api/queries";
import type { GatewayDeployment, GatewayGroup, GatewayHealth, Project } from "../api/types";
import { compact, count, duration, percent } from "../format";
import { t } from "../i18n/en";
import { can, managed } from "../shell/project";
import { buttonClass } from "../ui/button";
import { EmptyState, Loaded, Notice } from "../ui/feedback";
import { ACTIONS, ACTS, TableFrame } from "../ui/page";
import { Badge, Dot } from "../ui/status";
import { Ago, useClock } from "../ui/time";
import { BREAKER_TONE, aloneFor, failureOf, errorRate, errorTone, routingOf } from "./health";

/** Whom the project can ask, and how they are doing. */
export function Models({ project }: { project: Project }) {
  const health = useQuery(queries.gatewayHealth(project.id));
  const mayAsk = can(project.role, "write");
  return (
    <div className="pt-4">
      <Loaded query={health}>
        {(data) => data.groups.length === 0 ? <div className="card"><EmptyState icon={<Waypoints size={28} aria-hidden="true" />} title={t.gateway.none} detail={t.gateway.noneDetail} action={<ChangeLink />} /></div> : <Health health={data} projectId={project.id} mayAsk={mayAsk} />}
      </Loaded>
    </div>
  );
}

/** Where groups and providers are changed, for who manages an organisation. */
function ChangeLink({ className }: { className?: string }) {
  const me = useQuery(queries.me());
  return me.data && managed(me.data).length > 0 ? <Link to="/models" className={buttonClass("outline", "sm", className)}>{t.models.change}</Link> : null;
}

function Health({ health, projectId, mayAsk }: { health: GatewayHealth; projectId: string; mayAsk: boolean }) {
  const alone = health.deployments.filter((item) => item.breaker.state === "open");
  const now = useClock(alone.length > 0);
  return (
    <div className="flex flex-col gap-6">
      {/* Always there: what appears in it is read out. */}
      <div aria-live="polite" className={alone.length > 0 ? "" : "sr-only"} data-alone={alone.map((item) => item.name).join(" ")}>
        {alone.length > 0 ? <Notice tone="warn"><p className="font-medium">{t.gateway.alone(alone.map((item) => item.name))}</p><p>{t.gateway.aloneDetail}</p></Notice> : null}
      </div>
      <section aria-label={t.gateway.groups}>
        <div className="mb-2 flex flex-wrap items-center gap-2"><h2 className="text-md font-semibold">{t.gateway.groups}</h2><ChangeLink className="ml-auto" /></div>
        <TableFrame label={t.gateway.groups} heads={[t.gateway.group, t.gateway.chain, ...(mayAsk ? [ACTIONS] : [])]}>
          {health.groups.map((group) => <GroupRow key={group.name} group={group} deployments={health.deployments} projectId={projectId} mayAsk={mayAsk} />)}
        </TableFrame>
      </section>
      <section aria-label={t.gateway.deployments}>
        <h2 className="mb-2 text-md font-semibold">{t.gateway.deployments}</h2>
        <Deployments items={health.deployments} now={now} />
        <p className="mt-1.5 text-xs text-soft">{t.gateway.scope}</p>
      </section>
    </div>
  );
}

function GroupRow({ group, deployments, projectId, mayAsk }: { group: GatewayGroup; deployments: GatewayDeployment[]; projectId: string; mayAsk: boolean }) {
  const routing = routingOf(group);
  return (
    <tr className="hover:bg-hover" data-group={group.name}>
      <th scope="row" className="px-3 py-2 text-left font-medium whitespace-nowrap">{group.name}</th>
      <td className="px-3 py-2">
        <ol className="flex flex-wrap items-center gap-x-1 gap-y-1.5">
          {group.chain.map(({ deployment: name, weight }, index) => {
            const state = deployments.find((item) => item.name === name)?.breaker.state ?? "closed";
            return (
              <Fragment key={name}>
                {index > 0 ? <li aria-hidden="true" className="text-faint"><ChevronRight size={13} /></li> : null}
                <li className="inline-flex items-center gap-1.5 rounded-md border border-line-strong px-1.5 py-0.5 font-mono text-xs"><Dot tone={BREAKER_TONE[state]} />{name}{group.routing === "weighted" ? <span className="text-soft">{t.gateway.weight(weight)}</span> : null}<span className="sr-only">: {t.gateway.breaker[state]}</span></li>
              </Fragment>
            );
          })}
        </ol>
        {routing ? <p className="mt-1 text-xs text-soft">{routing}</p> : null}
      </td>
      {mayAsk ? <td className={ACTS}><Link to="/projects/$projectId/gateway" params={{ projectId }} search={{ tab: "playground", model: group.name }} aria-label={t.gateway.ask(group.name)} className={buttonClass("outline")}>{t.playground.ask}</Link></td> : null}
    </tr>
  );
}

const NUMBER = "px-3 py-2 text-right whitespace-nowrap tabular";

function Deployments({ items, now }: { items: GatewayDeployment[]; now: number }) {
  const right = (label: string) => ({ label, right: true as const });
  return (
    <TableFrame label={t.gateway.deployments} wide heads={[t.gateway.deployment, t.gateway.state, right(t.gateway.requests), right(t.gateway.errorRate), right(t.gateway.p50), right(t.gateway.p95), right(t.gateway.firstToken), right(t.gateway.window), t.gateway.price, t.gateway.lastError]}>
      {items.map((item) => <DeploymentRow key={item.name} item={item} now={now} />)}
    </TableFrame>
  );
}

function DeploymentRow({ item, now }: { item: GatewayDeployment; now: number }) {
  const { recent, breaker } = item;
  const rate = errorRate(recent);
  const tone = errorTone(rate);
  const alone = aloneFor(breaker, now);
  const time = (ms: number | null | undefined) => (ms === null || ms === undefined ? <span className="text-faint">–</span> : duration(ms));
  return (
    <tr className="align-top hover:bg-hover" data-deployment={item.name} data-breaker={breaker.state}>
      <th scope="row" className="max-w-64 px-3 py-2 text-left font-normal">
        <span className="block truncate font-medium">{item.name}{item.simulated ? <Badge className="ml-1.5">{t.gateway.simulated}</Badge> : null}</span>
        <span className="block truncate font-mono text-xs text-soft">{item.provider}/{item.model}</span>
      </th>
      <td className="px-3 py-2 whitespace-nowrap">
        <span title={t.gateway.breakerHelp[breaker.state]}><Badge tone={BREAKER_TONE[breaker.state]}><Dot tone={BREAKER_TONE[breaker.state]} />{t.gateway.breaker[breaker.state]}</Badge></span>
        {alone === null ? null : <span className="block text-xs text-soft tabular">{t.gateway.until(duration(alone))}</span>}
      </td>
      <td className={NUMBER}>{recent.requests > 0 ? count(recent.requests) : <span className="text-soft">{t.gateway.noCalls}</span>}</td>
      <td className={clsx(NUMBER, tone === "bad" && "font-medium text-bad", tone === "warn" && "text-warn")}>{rate === null ? <span className="text-faint">–</span> : percent(rate)}</td>
      <td className={NUMBER}>{time(recent.latency_p50_ms)}</td>
      <td className={NUMBER}>{time(recent.latency_p95_ms)}</td>
      <td className={NUMBER}>{time(recent.first_content_p50_ms)}</td>
      <td className={NUMBER}>{compact(item.context_window)}</td>
      <td className="px-3 py-2">{item.price_known ? <span className="text-soft">{t.gateway.priceKnown}</span> : <span title={t.gateway.priceUnknownHelp}><Badge tone="warn">{t.gateway.priceUnknown}</Badge></span>}</td>
      <td className="max-w-72 min-w-40 px-3 py-2 text-xs">{item.last_error ? <><Ago at={item.last_error.at} className="text-soft" /><span className="line-clamp-2 break-words" title={item.last_error.message}>{failureOf(item.last_error.kind, item.last_error.message)}</span></> : <span className="text-faint">–</span>}</td>
    </tr>
  );
}
