// The model gateway of the mock: groups and deployments, keys, and a playground that streams.
import { agents, ago, ahead, id, maria, projects } from "./data.mjs";

const MINUTE = 60_000;

const deployment = (name, provider, model, extra = {}) => ({
  name, provider, model, context_window: 200_000, max_output: 32_000, price_known: true, simulated: false, breaker: { state: "closed", until: null },
  recent: { requests: 0, failures: 0, latency_p50_ms: null, latency_p95_ms: null, first_content_p50_ms: null }, last_error: null, ...extra,
});
const group = (name, chain, extra = {}) => ({ name, routing: "order", hedge_after_ms: null, cheaper: null, chain: chain.map(([link, weight]) => ({ deployment: link, weight })), ...extra });
export const health = {
  window_seconds: 3_600, window_attempts: 10_000,
  groups: [
    group("code", [["large", 3], ["large-elsewhere", 1], ["local", 0]], { routing: "weighted", hedge_after_ms: 2_500, cheaper: "fast-response" }),
    group("fast-response", [["small", 1], ["local", 1]]),
    group("embeddings", [["embed", 1]], { routing: "least_cost" }),
  ],
  deployments: [
    deployment("embed", "openai", "text-embedding-3-small", { context_window: 8_191, max_output: 1 }),
    deployment("large", "anthropic", "claude-large-2", { breaker: { state: "open", until: ahead(14 * MINUTE) }, recent: { requests: 214, failures: 71, latency_p50_ms: 8_420, latency_p95_ms: 31_900, first_content_p50_ms: 1_240 }, last_error: { at: ago(MINUTE / 2), kind: "overloaded", message: "Overloaded: the service is temporarily at capacity, please retry your request in a while" } }),
    deployment("large-elsewhere", "openai", "gpt-large-1", { recent: { requests: 78, failures: 5, latency_p50_ms: 6_100, latency_p95_ms: 22_300, first_content_p50_ms: 830 }, last_error: { at: ago(11 * MINUTE), message: "Timeout { phase: Idle }: nothing within 60s" } }),
    deployment("local", "ollama", "qwen3-coder:30b", { context_window: 32_768, max_output: 8_000, price_known: false, breaker: { state: "half_open", until: null }, recent: { requests: 3, failures: 0, latency_p50_ms: 41_000, latency_p95_ms: 55_000, first_content_p50_ms: 3_900 } }),
    deployment("small", "scripted", "small-1", { simulated: true, recent: { requests: 1_604, failures: 2, latency_p50_ms: 640, latency_p95_ms: 1_900, first_content_p50_ms: 210 }, last_error: { at: ago(47 * MINUTE), message: "ServerError: 502 Bad Gateway" } }),
  ],
};

const key = (name, prefix, extra = {}) => ({
  id: id(14), name, prefix, agent_id: null, user_id: null, models: null, requests_per_minute: null, tokens_per_minute: null, hard_limit_micro_usd: null, spent_micro_usd: 0, simulated_micro_usd: 0, reserved_micro_usd: 0,
  expires_at: null, revoked_at: null, previous_until: null, last_used_at: null, created_at: ago(3 * 24 * 60 * MINUTE), ...extra,
});
export const gatewayKeys = [
  key("Nightly report", "sk-sdx-4kd9", { models: ["code", "fast-response"], requests_per_minute: 60, tokens_per_minute: 200_000, hard_limit_micro_usd: 25_000_000, spent_micro_usd: 21_340_000, reserved_micro_usd: 120_000, last_used_at: ago(4 * MINUTE), expires_at: ahead(20 * 24 * 60 * MINUTE) }),
  key("Maria's editor", "sk-sdx-9fw2", { previous_until: ahead(5 * 60 * MINUTE), user_id: maria.id, spent_micro_usd: 3_120_000, last_used_at: ago(26 * 60 * MINUTE) }),
  key("Trial of the script", "sk-sdx-77aa", { agent_id: agents[0].id, models: ["small"], hard_limit_micro_usd: 1_000_000, simulated_micro_usd: 412_000 }),
  key("Last year's importer", "sk-sdx-0c3e", { spent_micro_usd: 880_000, expires_at: ago(40 * MINUTE), last_used_at: ago(41 * MINUTE) }),
  key("Lost on a train", "sk-sdx-b81d", { revoked_at: ago(90 * MINUTE), spent_micro_usd: 12_000 }),
];
/** Keys are of the first project; the others have none. */
const keysOf = (p) => (p === projects[0].id ? gatewayKeys : []);

/** What a handler gives back that has answered by itself. */
export const ANSWERED = Symbol("answered");
const WORDS = "Half to even: a sum that lies in the middle between two cents goes to the even one, so that errors cancel out over many lines.".split(/(?<= )/);

export function gatewayRoutes({ Problem, find, page, emit, missing }) {
  const secret = () => `sk-sdx-${Math.random().toString(36).slice(2, 14)}${Math.random().toString(36).slice(2, 14)}`;
  const invalid = (field, message) => new Problem(422, "invalid", `${field}: ${message}`, { errors: [{ field, message }] });
  const known = (name) => health.groups.some((group) => group.name === name) || health.deployments.some((item) => item.name === name);
  const changed = (p, item, change) => emit("gateway_key.changed", p, `gateway_key/${item.id}`, { key_id: item.id, change }, "user");
  const good = (x) => { const item = find(gatewayKeys, x); if (item.revoked_at) throw missing(); return item; };
  return [
    ["GET", "/projects/:p/gateway/deployments", () => health],
    ["GET", "/projects/:p/gateway-keys", ({ p }) => page(keysOf(p))],
    ["POST", "/projects/:p/gateway-keys", ({ p, body }) => {
      if (body.models?.some((name) => !known(name))) throw invalid("models", "there is no such model group or deployment");
      const whole = secret();
      const item = { ...key(body.name, whole.slice(0, 11)), ...body, id: id(14), created_at: new Date().toISOString() };
      gatewayKeys.unshift(item);
      changed(p, item, "created");
      return { key: item, secret: whole };
    }],
    ["PUT", "/projects/:p/gateway-keys/:x", ({ p, x, body }) => { const item = Object.assign(good(x), body); changed(p, item, "replaced"); return item; }],
    ["POST", "/projects/:p/gateway-keys/:x/rotate", ({ p, x, body }) => { const whole = secret(); const overlap = body?.overlap_seconds ?? 0; const item = Object.assign(good(x), { prefix: whole.slice(0, 11), previous_until: overlap > 0 ? ahead(overlap * 1_000) : null }); changed(p, item, "rotated"); return { key: item, secret: whole }; }],
    ["DELETE", "/projects/:p/gateway-keys/:x", ({ p, x }) => { const item = find(gatewayKeys, x); item.revoked_at ??= new Date().toISOString(); item.previous_until = null; changed(p, item, "revoked"); return null; }],
    ["POST", "/projects/:p/gateway/playground", ({ body, res }) => play(body, res, { invalid, known })],
  ];
}

/** Streams; a question with "fail" in it is not answered, one with "break" is cut off, one with "slow" never ends. */
function play(body, res, { invalid, known }) {
  if (!known(body.model)) throw invalid("model", "there is no model group and no deployment of this name");
  const call_id = id(15);
  const attempt = (n, extra) => ({ attempt: n, deployment: "large", provider: "anthropic", model: "claude-large-2", outcome: "settled", error: null, latency_ms: 2_310, first_content_ms: 420, tokens_in: 18, tokens_out: 31, cost_micro_usd: 519, simulated: false, estimated: false, unpriced: false, ...extra });
  const failed = attempt(1, { outcome: "failed", error: "Overloaded { retry_after_ms: Some(90000) }: Overloaded", latency_ms: 310, first_content_ms: null, tokens_in: 0, tokens_out: 0, cost_micro_usd: 0 });
  const second = attempt(2, { deployment: "large-elsewhere", provider: "openai", model: "gpt-large-1" });
  const end = { call_id, stop: "end_turn", error: null, downgraded_to: body.prompt.includes("cheap") ? "fast-response" : null, attempts: [failed, second], skipped: [{ deployment: "local", reason: "cooling down for another 8 s" }], cost_micro_usd: 519, simulated_micro_usd: 0, tokens_in: 18, tokens_out: 31 };
  res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  const send = (event, data) => res.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  if (body.prompt.includes("fail")) {
    send("end", { ...end, stop: null, attempts: [failed], skipped: [{ deployment: "local", reason: "cooling down for another 8 s" }], cost_micro_usd: 0, tokens_in: 0, tokens_out: 0, error: { status: 503, code: "unavailable", detail: "no deployment of the group answered", retry_after_seconds: 8 } });
    res.end();
    return ANSWERED;
  }
  send("head", { call_id, deployment: second.deployment, model: second.model, attempt: 2, simulated: false, dropped: [] });
  let at = 0;
  const timer = setInterval(() => {
    if (at < WORDS.length) return send("text", { text: WORDS[at++] });
    if (body.prompt.includes("slow")) return undefined;
    clearInterval(timer);
    if (!body.prompt.includes("break")) send("end", end);
    return res.end();
  }, 20);
  res.on("close", () => clearInterval(timer));
  return ANSWERED;
}
