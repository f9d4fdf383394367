// Providers, groups and deployments of the mock's organisation.
import { ago, id } from "./data.mjs";

const DAY = 86_400_000;
const model = (provider, name, extra = {}) => ({ name, full_name: `${provider}/${name}`, model: name, context_window: 200_000, max_output: 32_000, prices: null, accepts_temperature: false, timeouts: null, ...extra });
export const modelProviders = [
  { id: id(15), name: "acme", kind: "anthropic", base_url: "https://api.anthropic.com/v1", vendor: null, api_version: null, key: { last_four: "WXYZ", fingerprint: "0f1e2d3c4b5a6978", set_at: ago(12 * DAY), readable: true }, deployments: [model("acme", "claude-sonnet-5", { timeouts: { first_token_ms: 600_000, idle_ms: 90_500 } }), model("acme", "claude-haiku-5-5")], created_at: ago(40 * DAY), updated_at: ago(12 * DAY) },
  { id: id(15), name: "basement", kind: "openai_compatible", base_url: "http://gpu.internal:8000/v1", vendor: null, api_version: null, key: null, deployments: [model("basement", "qwen3-coder", { model: "Qwen/Qwen3-Coder-480B-A35B-Instruct-FP8", context_window: 131_072, max_output: 8_192, prices: { input: 0, output: 0, cache_read: 0, cache_write: 0 } })], created_at: ago(9 * DAY), updated_at: ago(9 * DAY) },
  { id: id(15), name: "elsewhere", kind: "openai", base_url: "https://api.openai.com/v1", vendor: null, api_version: null, key: { last_four: null, fingerprint: "77aa66bb55cc44dd", set_at: ago(80 * DAY), readable: false }, deployments: [model("elsewhere", "gpt-5.4-mini")], created_at: ago(80 * DAY), updated_at: ago(80 * DAY) },
];
const link = (deployment, weight = 1, known = true) => ({ deployment, weight, provider: known ? "anthropic" : null, model: known ? deployment : null });
const group = (name, source, chain, extra = {}) => ({ name, source, is_configured: source === "configured", routing: "order", hedge_after_ms: null, cheaper: null, chain, updated_at: source === "configured" ? null : ago(DAY), ...extra });
export const modelGroups = [
  group("code", "organisation", [link("acme/claude-sonnet-5", 3), link("large", 1), link("elsewhere/gpt-5.4-mini", 1, false)], { is_configured: true, routing: "weighted", cheaper: "fast-response", hedge_after_ms: 2_500 }),
  group("fast-response", "configured", [link("small"), link("local")]),
  group("night", "organisation", [link("basement/qwen3-coder")]),
];
const CONFIGURED = ["large", "local", "small"];
const ofProviders = () => modelProviders.filter((one) => one.key?.readable !== false).flatMap((one) => one.deployments.map((item) => ({ name: item.full_name, provider: one.kind, model: item.model, context_window: item.context_window, max_output: item.max_output, price_known: true, own: true })));
const deployments = () => [...ofProviders(), ...CONFIGURED.map((name) => ({ name, provider: "anthropic", model: name, context_window: 200_000, max_output: 32_000, price_known: true, own: false }))].toSorted((one, other) => one.name.localeCompare(other.name));

export function modelRoutes({ Problem, find, page, missing }) {
  const invalid = (field, message) => new Problem(422, "invalid", `${field}: ${message}`, { errors: [{ field, message }] });
  const keyOf = (secret) => ({ last_four: secret.length >= 16 ? secret.slice(-4) : null, fingerprint: id(16).slice(0, 16), set_at: new Date().toISOString(), readable: true });
  const checked = (body) => {
    if (!body.base_url.startsWith("https:") && !body.base_url.startsWith("http://gpu.internal")) throw invalid("base_url", "must begin with https://");
    if (/localhost|127\.0\.0\.1/.test(body.base_url)) throw invalid("base_url", "leads into a private network: the operator can allow this host in SYNDARIX_PROVIDER_HOSTS");
    body.deployments.forEach((one, index) => { if (one.max_output > one.context_window) throw invalid(`deployments[${index}].max_output`, "must be from 1 to the context window"); });
    if (body.key && body.key.length < 8) throw invalid("key", "must have 8 to 4000 characters, without spaces and line breaks");
  };
  const shown = ({ key, deployments: models, ...body }) => ({ ...body, ...(key ? { key: keyOf(key) } : {}), deployments: models.map((one) => ({ ...one, full_name: `${body.name}/${one.name}` })), updated_at: new Date().toISOString() });
  return [
    ["GET", "/organisations/:o/model-providers", () => page(modelProviders)],
    ["POST", "/organisations/:o/model-providers", ({ body }) => {
      checked(body);
      if (modelProviders.some((one) => one.name === body.name)) throw new Problem(409, "name_taken", "this organisation has a model provider of this name");
      const made = { key: null, ...shown(body), id: id(15), created_at: new Date().toISOString() };
      modelProviders.push(made);
      return made;
    }],
    ["PUT", "/organisations/:o/model-providers/:x/key", ({ x, body }) => { checked({ base_url: "https:", deployments: [], key: body.key }); return Object.assign(find(modelProviders, x), { key: keyOf(body.key) }); }],
    ["PUT", "/organisations/:o/model-providers/:x", ({ x, body }) => {
      const one = find(modelProviders, x);
      checked(body);
      if (one.key && !body.key && one.base_url !== body.base_url) throw invalid("key", "must be given with another address: the stored one is sent only where it was given for");
      return Object.assign(one, shown(body));
    }],
    ["DELETE", "/organisations/:o/model-providers/:x", ({ x }) => { modelProviders.splice(modelProviders.indexOf(find(modelProviders, x)), 1); return null; }],
    ["GET", "/organisations/:o/model-deployments", () => page(deployments())],
    ["GET", "/organisations/:o/model-groups", () => page(modelGroups)],
    ["PUT", "/organisations/:o/model-groups/:x", ({ x, body }) => {
      const known = deployments();
      if (!/^[a-z0-9][a-z0-9._-]*$/.test(x)) throw invalid("name", "must have 1 to 64 lower-case letters, digits, `-`, `.` or `_`, and begin with a letter or digit");
      body.chain.forEach((one, index) => { if (!known.some((item) => item.name === one.deployment)) throw invalid(`chain[${index}].deployment`, "is no deployment that you have"); });
      const before = modelGroups.find((one) => one.name === x);
      const next = group(x, "organisation", body.chain.map((one) => link(one.deployment, one.weight)), { ...body, chain: body.chain.map((one) => link(one.deployment, one.weight)), is_configured: before?.is_configured ?? false });
      if (before) Object.assign(before, next);
      else modelGroups.push(next);
      return next;
    }],
    ["DELETE", "/organisations/:o/model-groups/:x", ({ x }) => {
      const place = modelGroups.findIndex((one) => one.name === x && one.source === "organisation");
      if (place < 0) throw missing();
      const [one] = modelGroups.splice(place, 1);
      if (one.is_configured) modelGroups.push(group(x, "configured", [link("large"), link("small")]));
      return null;
    }],
  ];
}
