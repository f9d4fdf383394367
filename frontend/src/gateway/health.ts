import type { GatewayDeployment, GatewayGroup } from "../api/types";
import { duration } from "../format";
import { t } from "../i18n/en";
import type { Tone } from "../ui/status";

/** What the state of a deployment means: pure functions. */

export const BREAKER_TONE: Record<GatewayDeployment["breaker"]["state"], Tone> = { closed: "ok", open: "bad", half_open: "warn" };

/** In which order the deployments of a group are asked, and what else it does; may be nothing. */
export function routingOf(group: GatewayGroup): string {
  // One alone has no order.
  const parts = group.chain.length > 1 ? [t.gateway.routing[group.routing] ?? group.routing] : [];
  if (group.hedge_after_ms) parts.push(t.gateway.hedged(duration(group.hedge_after_ms)));
  if (group.cheaper) parts.push(t.gateway.cheaper(group.cheaper));
  return parts.join("; ");
}

/** The share of attempts that failed; null where there was none. */
export function errorRate({ requests, failures }: GatewayDeployment["recent"]): number | null {
  return requests > 0 ? failures / requests : null;
}

/** A failure now and then is what retries are for. */
const SOME = 0.05;
const MANY = 0.25;

export function errorTone(rate: number | null): Tone {
  if (rate === null || rate === 0) return "neutral";
  return rate >= MANY ? "bad" : rate >= SOME ? "warn" : "neutral";
}

/** What an attempt failed of: the kind in words, and what the provider said. Attempts of earlier releases may have no kind. */
export function failureOf(kind: string | null | undefined, message: string): string {
  return kind && Object.hasOwn(t.gateway.causes, kind) ? `${t.gateway.causes[kind]}: ${message}` : message;
}

/** A sentence about several attempts, with each kind in words. */
export function causesIn(text: string): string {
  return text.replaceAll(/\b([a-z_]+): /g, (whole, kind: string) => (Object.hasOwn(t.gateway.causes, kind) ? `${t.gateway.causes[kind]}: ` : whole));
}

/** For how long it is left alone yet, in milliseconds; null when it is not. A server that is behind says no less than one second. */
export function aloneFor(breaker: GatewayDeployment["breaker"], now: number): number | null {
  if (breaker.state !== "open" || !breaker.until) return null;
  return Math.max(1_000, Date.parse(breaker.until) - now);
}
