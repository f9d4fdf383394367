// The attempts of model calls that the mock shows: of an agent's run, and of clients with a key.
import { ago, engineerSteps, id, runs } from "./data.mjs";

const attempt = (extra) => ({
  id: id(14), call_id: id(14), at: ago(60_000), run_id: null, step_id: null, agent_name: null, user_name: null, key_name: null, deployment: "large-2", downgraded_to: null, model: "large-2", provider: "scripted", attempt: 1,
  tokens_in: 2_400, tokens_out: 310, cost_micro_usd: 11_900, latency_ms: 5_200, first_content_ms: 640, estimated: false, simulated: false, unpriced: false, from_cache: false, outcome: "settled", error_kind: null, error: null, skipped: 0, ...extra,
});

/** A call of a client whose first deployment was busy. */
const failedOver = { call_id: id(14), key_name: "Nightly report" };

export const usageCalls = [
  attempt({ ...failedOver, attempt: 2, deployment: "small", model: "small-1", downgraded_to: "small", cost_micro_usd: 900 }),
  attempt({ ...failedOver, at: ago(66_000), tokens_in: 0, tokens_out: 0, cost_micro_usd: 0, latency_ms: 210, first_content_ms: null, outcome: "failed", error_kind: "rate_limited", error: "429 Too Many Requests: come back in 30 s" }),
  attempt({ at: ago(90_000), key_name: "Nightly report", from_cache: true, tokens_in: 0, tokens_out: 0, cost_micro_usd: 0, latency_ms: null, first_content_ms: null }),
  attempt({ at: ago(120_000), user_name: "Tom Weber", key_name: "Notebook", deployment: "house-model", model: "house-model", unpriced: true, estimated: true, outcome: "interrupted" }),
  attempt({ at: ago(150_000), key_name: "Nightly report", deployment: "small", model: "small-1", cost_micro_usd: 900, skipped: 1 }),
  ...engineerSteps.filter((step) => step.kind === "model").map((step) => attempt({
    id: step.id, call_id: step.id, at: step.started_at, run_id: runs[1].id, step_id: step.id, agent_name: "Ada",
    tokens_in: step.tokens_in, tokens_out: step.tokens_out, cost_micro_usd: step.cost_micro_usd, latency_ms: step.duration_ms, simulated: step.simulated,
  })),
];

/** The way that a call took; nothing of one that is not recorded. */
export const callWay = (call) => {
  const attempts = usageCalls.filter((one) => one.call_id === call).toSorted((a, b) => a.attempt - b.attempt);
  const skipped = attempts.some((one) => one.skipped > 0) ? [{ deployment: "large-2", kind: "cooling_down", reason: "cooling down for another 8 s", times: 3, at: attempts[0].at }] : [];
  return attempts.length > 0 ? { call_id: call, attempts, skipped } : null;
};
