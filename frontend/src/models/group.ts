import type { ModelGroup, ModelGroupSettings } from "../api/types";
import { t } from "../i18n/en";
import type { FieldErrors } from "./provider";

/** A model group and what its form says: pure functions. */

export const ROUTINGS = ["order", "weighted", "least_latency", "least_cost"] as const;
export type Routing = (typeof ROUTINGS)[number];

export interface LinkForm {
  deployment: string;
  weight: string;
}

export interface GroupForm {
  name: string;
  routing: Routing;
  /** In seconds; empty: nobody is asked twice. */
  hedge: string;
  cheaper: string;
  chain: LinkForm[];
}

export const EMPTY_GROUP: GroupForm = { name: "", routing: "order", hedge: "", cheaper: "", chain: [] };

const MS = 1_000;
const MAX_WEIGHT = 1_000;

export function formOfGroup(group: ModelGroup): GroupForm {
  return {
    name: group.name,
    routing: group.routing,
    hedge: group.hedge_after_ms ? String(group.hedge_after_ms / MS) : "",
    cheaper: group.cheaper ?? "",
    chain: group.chain.map(({ deployment, weight }) => ({ deployment, weight: String(weight) })),
  };
}

/** The chain with one of its links a place further up (-1) or down (1); the same where there is no such place. */
export function moved<L>(chain: readonly L[], at: number, by: number): L[] {
  const to = at + by;
  const next = [...chain];
  if (at < 0 || at >= next.length || to < 0 || to >= next.length) return next;
  const [link] = next.splice(at, 1);
  if (link !== undefined) next.splice(to, 0, link);
  return next;
}

/** What the form asks the server for, or what is wrong with it. The server has the last word. */
export function settingsOfGroup(form: GroupForm): { settings: ModelGroupSettings } | { errors: FieldErrors } {
  const errors: FieldErrors = {};
  if (!form.name.trim()) errors.name = t.errors.required;
  if (form.chain.length === 0) errors.chain = t.models.needDeployment;
  const chain = form.chain.map(({ deployment, weight }, index) => {
    if (!/^\d{1,4}$/.test(weight.trim()) || Number(weight) > MAX_WEIGHT) errors[`chain[${index}].weight`] = t.models.wholeWeight(MAX_WEIGHT);
    return { deployment, weight: Number(weight) };
  });
  const hedge = form.hedge.trim() === "" ? null : Math.round(Number(form.hedge) * MS);
  if (hedge !== null && !(hedge >= 1)) errors.hedge_after_ms = t.models.seconds;
  if (Object.keys(errors).length > 0) return { errors };
  return { settings: { routing: form.routing, hedge_after_ms: hedge, cheaper: form.cheaper || null, chain } };
}
