import type { GatewayDeployment } from "../api/types";
import { t } from "../i18n/en";
import type { Tone } from "../ui/status";

/** What the state of a deployment means: pure functions. */

export const BREAKER_TONE: Record<GatewayDeployment["breaker"]["state"], Tone> = { closed: "ok", open: "bad", half_open: "warn" };

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

/** What an attempt failed of, as people read it: the kind in words, and what the provider said. */
export function causeOf(error: string): string {
  const match = /^(\w+)(?: \{.*?\})?: (.*)$/s.exec(error);
  const kind = match?.[1] ? t.gateway.causes[match[1]] : undefined;
  return kind && match?.[2] !== undefined ? `${kind}: ${match[2]}` : error;
}

/** For how long it is left alone yet, in milliseconds; null when it is not. A server that is behind says no less than one second. */
export function aloneFor(breaker: GatewayDeployment["breaker"], now: number): number | null {
  if (breaker.state !== "open" || !breaker.until) return null;
  return Math.max(1_000, Date.parse(breaker.until) - now);
}
