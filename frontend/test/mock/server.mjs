// A server of the REST contract with data in memory: for development, and for the screen tests.
// It serves dist/ too, with the security headers of the real one.
import { createServer } from "node:http";
import { existsSync, readFileSync } from "node:fs";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import * as data from "./data.mjs";
import { budgetRoutes } from "./budgets.mjs";
import { ANSWERED, gatewayKeys, gatewayRoutes, health } from "./gateway.mjs";
import { modelGroups, modelProviders, modelRoutes } from "./models.mjs";
import { callWay, usageCalls } from "./calls.mjs";

const DIST = fileURLToPath(new URL("../../dist/", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json", ".woff2": "font/woff2" };
export const LOGIN = { email: data.maria.email, password: "correct horse battery" };

class Problem extends Error {
  constructor(status, code, detail, extras = {}) {
    super(detail);
    this.body = { type: "about:blank", title: code, status, code, detail, request_id: "req-mock", ...extras };
  }
}
const missing = () => new Problem(404, "not_found", "It does not exist.");
const find = (list, id) => list.find((item) => item.id === id) ?? (() => { throw missing(); })();
const page = (items, extra = {}) => ({ items, next_cursor: null, ...extra });

export function startMock({ port = 0, loopSeconds = 1.5, maxPage = 200 } = {}) {
  const streams = new Set();
  const events = [];
  const writes = [];
  let generation = 0;
  /** What is answered 503. */
  let failing = null;
  let seq = 0;
  const emit = (type, p, subject, payload = {}, actor_type = "agent") => {
    seq += 1;
    const event = { id: `e:${seq}`, type, time: new Date().toISOString(), project_id: p, actor_id: null, actor_type, subject, seq, data: payload };
    events.push(event);
    for (const stream of streams) stream.write(`event: ${type}\nid: e:${seq}\ndata: ${JSON.stringify(event)}\n\n`);
  };
  const ephemeral = (type, p, subject, payload) => {
    const event = { type, time: new Date().toISOString(), project_id: p, subject, data: payload };
    for (const stream of streams) stream.write(`event: ${type}\ndata: ${JSON.stringify(event)}\n\n`);
  };
  for (const story of data.stories) emit("story.created", story.project_id, `story/${story.id}`, { title: story.title, number: story.number }, "user");
  for (const run of data.runs) {
    emit("run.started", data.projects[0].id, `run/${run.id}`, { agent_name: run.agent.name, stage: run.stage });
    for (const step of (data.stepsOf.get(run.id) ?? []).slice(0, 6)) emit("run.step_finished", data.projects[0].id, `run/${run.id}`, { name: step.name, target: step.target });
  }
  for (const item of data.approvals) emit("approval.requested", item.project_id, `approval/${item.id}`, { title: item.title });

  const session = () => ({ access_token: `token-${generation}-${Date.now()}`, token_type: "Bearer", expires_in: 900, refresh_token: "r", user: data.maria });
  const withSession = (res) => { res.setHeader("Set-Cookie", "syndarix_refresh=mock; HttpOnly; SameSite=Strict; Path=/api/v1/auth"); return session(); };

  const audit = events.map((event, index) => ({ id: `a${index}`, position: index + 1, time: event.time, type: event.type, category: event.type.split(".")[0], severity: "info", actor: { type: event.actor_type, name: event.actor_type === "user" ? data.maria.name : "Ada" }, action: `${event.data.title ?? event.data.name ?? event.data.stage ?? ""} (${event.type})`, data: event.data, hash: `sha256:${(index + 1).toString(16).padStart(12, "a")}`, previous_hash: `sha256:${index.toString(16).padStart(12, "a")}` })).toReversed();

  function decide(approval, body) {
    if (approval.state !== "pending") throw new Problem(409, "approval_already_decided", "It was decided before.", { decided_by: approval.decided.by, decided_at: approval.decided.at, outcome: approval.state });
    const silent = !body.note?.trim();
    if (["changes_requested", "rejected"].includes(body.outcome) && silent && !body.comments?.length) throw new Problem(422, "invalid", "say what is wanted: a note or a comment on a line", { errors: [{ field: "note", message: "say what is wanted: a note or a comment on a line" }] });
    if (approval.action === "human_input" && body.outcome === "approved" && silent) throw new Problem(422, "invalid", "write the answer to the agent's question here", { errors: [{ field: "note", message: "write the answer to the agent's question here" }] });
    if (body.digest !== approval.digest) throw new Problem(409, "approval_changed", "What is asked has changed.", { current_digest: approval.digest });
    approval.state = body.outcome;
    approval.comments = body.comments ?? [];
    approval.decided = { by: { id: data.maria.id, name: data.maria.name }, at: new Date().toISOString(), outcome: body.outcome, note: body.note ?? "", arguments: body.arguments ?? null };
    const story = data.stories.find((item) => item.id === approval.story_id);
    if (story?.approval_id === approval.id) story.approval_id = null;
    emit("approval.decided", approval.project_id, `approval/${approval.id}`, { title: approval.title, outcome: body.outcome, story_id: approval.story_id }, "user");
    if (approval.pull_request_id && body.outcome === "changes_requested") data.pullRequest.comments.push(...approval.comments.map((comment) => ({ ...comment, author: { type: "user", name: data.maria.name }, at: approval.decided.at })));
    if (story && approval.action === "pull_request_merge") follow(story, approval, body.outcome);
    return approval;
  }

  function follow(story, approval, outcome) {
    const p = story.project_id;
    const later = (ms, work) => setTimeout(work, ms * loopSeconds).unref();
    if (outcome === "changes_requested") {
      Object.assign(story, { phase: "implementation", round: story.round + 1, waiting_for: "Ada works on the requested changes.", updated_at: new Date().toISOString() });
      emit("story.stage_started", p, `story/${story.id}`, { phase: "implementation", title: story.title });
      const run = data.runs[1];
      for (let index = 0; index < 8; index += 1) later(60 + index * 60, () => ephemeral("run.delta", p, `run/${run.id}`, { run_id: story.run_id, text: ["I ", "make ", "the ", "denominator ", "unsigned, ", "so ", "the doubt ", "is gone."][index] }));
      later(900, () => {
        const again = { ...approval, id: data.id(10), state: "pending", decided: null, comments: [], digest: `sha256:${Math.random().toString(16).slice(2)}`, requested_at: new Date().toISOString(), summary: "The denominator is unsigned now, as you asked. Everything else is as before.", confidence: 0.96 };
        data.approvals.push(again);
        Object.assign(story, { phase: "review", approval_id: again.id, waiting_for: "Waiting for Maria's approval of PR 4.", updated_at: new Date().toISOString() });
        emit("approval.requested", p, `approval/${again.id}`, { title: again.title, story_id: story.id });
        emit("story.stage_started", p, `story/${story.id}`, { phase: "review", title: story.title });
      });
    } else if (outcome.startsWith("approved")) {
      Object.assign(story, { phase: "testing", waiting_for: "Tests are running.", updated_at: new Date().toISOString(), merge_commit: "77ab01ce4411" });
      emit("pr.merged", p, `pr/${approval.pull_request_id}`, { number: 4, story_id: story.id });
      later(700, () => {
        Object.assign(story, { phase: "done", waiting_for: "", updated_at: new Date().toISOString() });
        emit("story.done", p, `story/${story.id}`, { title: story.title });
      });
    }
  }

  function commandStory(story, name, body) {
    const illegal = (guard, from) => new Problem(409, "illegal_transition", `A story in ${story.phase} cannot do this.`, { guard, legal_from: from });
    if (name === "start") {
      if (story.started) throw illegal("story_not_started", ["analysis"]);
      Object.assign(story, { started: true, waiting_for: "Margaret reads the story." });
    } else if (name === "block") {
      if (["done", "cancelled", "blocked"].includes(story.phase)) throw illegal("story_is_working", ["analysis", "design", "implementation"]);
      Object.assign(story, { blocked_from: story.phase, phase: "blocked", blocked_reason: body.reason });
    } else if (name === "unblock") {
      Object.assign(story, { phase: story.blocked_from ?? "analysis", blocked_from: null, blocked_reason: null });
    } else if (name === "cancel") story.phase = "cancelled";
    else if (name === "move") story.sprint_id = body.sprint_id;
    story.version += 1;
    story.updated_at = new Date().toISOString();
    emit(`story.${name === "start" ? "started" : `${name}ed`}`, story.project_id, `story/${story.id}`, { title: story.title }, "user");
    return story;
  }

  const usageRows = (by) => ({
    agent: data.agents.map((agent) => [agent.id, agent.name, agent.spent_micro_usd, agent.simulated_micro_usd]),
    model: [["large-2", "balanced/large-2", 9_800_000, 2_015_000], ["small-1", "cheap/small-1", 2_680_000, 1_200_000]],
    day: Array.from({ length: 14 }, (_, index) => [data.ago((13 - index) * data.DAY).slice(0, 10), data.ago((13 - index) * data.DAY).slice(0, 10), 400_000 + ((index * 7919) % 11) * 120_000, ((index * 31) % 5) * 90_000]),
    story: data.stories.map((story) => [story.id, `#${story.number} ${story.title}`, story.cost_micro_usd, story.simulated_micro_usd]),
    key: [["", "no key", 8_420_000, 3_215_000], ...gatewayKeys.map((key) => [key.id, key.name, key.spent_micro_usd, key.simulated_micro_usd])],
  })[by].map(([key, label, cost, simulated]) => ({ key, label, cost_micro_usd: cost, simulated_micro_usd: simulated, tokens_in: Math.round(cost / 4), tokens_out: Math.round(cost / 60), calls: 3 + Math.round(cost / 90_000) }));

  const routes = [
    ["POST", "/auth/login", ({ form, res }) => { if (form.get("password") !== LOGIN.password) throw new Problem(401, "wrong_credentials", "E-mail or password is wrong."); return withSession(res); }],
    ["POST", "/auth/register", ({ body, res }) => { if (body.email === LOGIN.email) throw new Problem(422, "invalid", "Not valid.", { errors: [{ field: "email", message: "This e-mail is registered already." }] }); return withSession(res); }],
    ["POST", "/auth/refresh", ({ req, res }) => { if (!req.headers.cookie?.includes("syndarix_refresh=mock")) throw new Problem(401, "no_session", "Sign in."); return withSession(res); }],
    ["POST", "/auth/logout", ({ res }) => { res.setHeader("Set-Cookie", "syndarix_refresh=; Max-Age=0; Path=/api/v1/auth"); return null; }],
    ["GET", "/me", () => ({ user: data.maria, organisations: [data.organisation], projects: data.projects.map(({ id, name, role }) => ({ id, name, role })) })],
    ["GET", "/system", () => ({ version: "0.1.0", instance: "mock", models: [{ group: "balanced", deployments: [{ name: "large-2", provider: "scripted", model: "large-2", simulated: true }] }], isolation: { level: "process", detail: "own user, no network" }, queues: data.queues, database: "embedded", redis: false })],
    ["GET", "/organisations", () => page([data.organisation])],
    ["POST", "/organisations", ({ body }) => ({ id: data.id(2), name: body.name, role: "admin" })],
    ["GET", "/projects", () => page(data.projects)],
    ["POST", "/projects", ({ body }) => { const made = { ...data.projects[2], ...body, id: data.id(3), role: "admin", repository: { state: "ready", detail: null, location: null }, counts: { stories_open: 0, approvals_pending: 0, agents: 0 }, spent_micro_usd: 0, simulated_micro_usd: 0, budget: null }; data.projects.push(made); return made; }],
    ["GET", "/projects/:p", ({ p }) => find(data.projects, p)],
    ["PATCH", "/projects/:p", ({ p, body }) => Object.assign(find(data.projects, p), body)],
    ["GET", "/projects/:p/members", () => page(data.members)],
    ["POST", "/projects/:p/members", ({ body }) => { const member = { user_id: data.id(1), email: body.email, name: body.email.split("@")[0], role: body.role }; data.members.push(member); return member; }],
    ["DELETE", "/projects/:p/members/:x", ({ x }) => { data.members.splice(data.members.findIndex((member) => member.user_id === x), 1); return null; }],
    ["GET", "/projects/:p/policy", () => data.policy],
    ["PUT", "/projects/:p/policy", ({ body }) => Object.assign(data.policy, body)],
    ["GET", "/projects/:p/budget", ({ p }) => find(data.projects, p).budget ?? (() => { throw missing(); })()],
    ["PUT", "/projects/:p/budget", ({ p, body }) => { const project = find(data.projects, p); project.budget = { spent_micro_usd: 0, reserved_micro_usd: 0, simulated_micro_usd: 0, ...project.budget, ...body }; return project.budget; }],
    ...budgetRoutes({ Problem, page, emit, missing }),
    ["GET", "/projects/:p/sprints", ({ p }) => page([data.sprint, data.nextSprint].filter((item) => item.project_id === p))],
    ["POST", "/projects/:p/sprints", ({ p, body }) => ({ ...data.nextSprint, ...body, project_id: p, id: data.id(6) })],
    ["POST", "/projects/:p/sprints/:x/:c", ({ x, c }) => { const sprint = find([data.sprint, data.nextSprint], x); if (c === "complete") throw new Problem(409, "illegal_transition", "Stories are unfinished.", { guard: "every_story_done_or_carried_over", legal_from: ["review"] }); sprint.state = { start: "active", "request-review": "review", cancel: "cancelled" }[c]; return sprint; }],
    ["GET", "/projects/:p/stories", ({ p }) => page(data.stories.filter((item) => item.project_id === p))],
    ["POST", "/projects/:p/stories", ({ p, body }) => { const made = { ...data.stories[7], ...body, id: data.id(7), project_id: p, number: 17 + data.stories.length, sprint_id: body.sprint_id ?? null, started: false, acceptance_criteria: [], version: 1 }; data.stories.push(made); emit("story.created", p, `story/${made.id}`, { title: made.title }, "user"); return made; }],
    ["GET", "/projects/:p/stories/:x", ({ x, query }) => { const story = find(data.stories, x); return query.get("version") ? { ...story, version: Number(query.get("version")), phase: "analysis" } : story; }],
    ["GET", "/projects/:p/stories/:x/history", ({ x }) => { const story = find(data.stories, x); return page(["analysis", "analysis", "design", "implementation", "review", story.phase].map((phase, index) => ({ version: index + 1, type: index === 0 ? "story.created" : "story.stage_started", at: data.ago((6 - index) * 600_000), actor: index === 0 ? { type: "user", name: "Maria Keller" } : { type: "system", name: "Syndarix" }, data: { phase }, phase }))); }],
    ["GET", "/projects/:p/stories/:x/timeline", ({ x }) => page(data.runs.filter((run) => run.story_id === x).map((run) => ({ run, steps: data.stepsOf.get(run.id) ?? [] })))],
    ["GET", "/projects/:p/stories/:x/changes", ({ x }) => { if (x !== data.stories[0].id) throw missing(); return data.diff; }],
    ["GET", "/projects/:p/stories/:x/tests", ({ x }) => page(x === data.stories[0].id ? data.testRuns : [])],
    ["POST", "/projects/:p/stories/:x/:c", ({ x, c, body }) => commandStory(find(data.stories, x), c, body)],
    ["GET", "/projects/:p/pull-requests/:x", () => data.pullRequest],
    ["GET", "/agent-types", () => page(data.agentTypes)],
    ["POST", "/agent-types", ({ body }) => { if (!body.toml.includes("name")) throw new Problem(422, "invalid_agent_type", "Line 1: `name` is missing.", { errors: [{ field: "name", message: "Line 1: is missing." }] }); return { ...data.agentTypes[0], version: 4 }; }],
    ["GET", "/agent-types/:x/versions", ({ x }) => { const type = find(data.agentTypes, x); return page([type, { ...type, version: 2, system_prompt: "You are one of the team.", limits: { ...type.limits, max_steps: 40 } }, { ...type, version: 1, system_prompt: "You are one of the team.", limits: { ...type.limits, max_steps: 40 }, model_group: "cheap" }]); }],
    ["GET", "/agent-types/:x/export", () => "name = \"Analyst\"\n"],
    ["GET", "/projects/:p/agents", ({ p }) => page(data.agents.filter((item) => item.project_id === p))],
    ["POST", "/projects/:p/agents", ({ p, body }) => { const type = find(data.agentTypes, body.agent_type_id); const made = { ...data.agents[1], id: data.id(5), project_id: p, name: body.name ?? "Barbara", type: { id: type.id, name: type.name, role: type.role, version: type.version }, spent_micro_usd: 0, simulated_micro_usd: 0, runs: 0 }; data.agents.push(made); return made; }],
    ["POST", "/projects/:p/agents/:x/:c", ({ x, c }) => Object.assign(find(data.agents, x), { status: { pause: "paused", resume: "idle", terminate: "terminated" }[c] })],
    ["GET", "/projects/:p/runs", ({ p, query }) => page(p === data.projects[0].id ? data.runs.filter((run) => !query.get("state") || run.state === query.get("state")) : [])],
    ["GET", "/projects/:p/runs/:x", ({ x, query }) => { const run = { ...find(data.runs, x), steps: data.stepsOf.get(x) ?? [] }; return query.get("version") ? { ...run, version: Number(query.get("version")), state: "thinking", waiting: null, ended_at: null, steps: run.steps.slice(0, Number(query.get("version")) - 1) } : run; }],
    ["GET", "/projects/:p/runs/:x/history", ({ x }) => { const run = find(data.runs, x); return page(["run.started", "run.model_call_started", "run.model_call_finished", "run.waiting"].map((type, index) => ({ version: index + 1, type, at: data.ago((11 - index) * 60_000), actor: { type: "agent", name: run.agent.name }, data: { step: index }, phase: ["started", "thinking", "acting", "waiting"][index] }))); }],
    ["POST", "/projects/:p/runs/:x/:c", ({ x }) => find(data.runs, x)],
    ["GET", "/projects/:p/messages", () => page(data.messages)],
    ["POST", "/projects/:p/messages", ({ body }) => { const made = { id: data.id(12), routing: "direct", at: new Date().toISOString(), from: { type: "user", name: data.maria.name }, ...body }; data.messages.push(made); return made; }],
    ["GET", "/approvals", ({ query }) => { const state = query.get("state") ?? "pending"; const pending = data.approvals.filter((item) => item.state === "pending"); const items = state === "pending" ? pending : state === "decided" ? data.approvals.filter((item) => item.state !== "pending") : data.approvals; const from = Number(query.get("cursor") ?? 0); const to = from + Math.min(Number(query.get("limit") ?? 50), maxPage); return page(items.slice(from, to), { next_cursor: to < items.length ? String(to) : null, unresolved: pending.length }); }],
    ["GET", "/projects/:p/approvals/:x", ({ x }) => { const approval = find(data.approvals, x); const story = data.stories.find((item) => item.id === approval.story_id) ?? null; return { ...approval, story, run: data.runs.find((run) => run.id === approval.run_id) ?? null, diff: approval.action === "pull_request_merge" && !approval.diff_unavailable ? data.diff : null, pull_request: approval.action === "pull_request_merge" ? data.pullRequest : null, timeline: [{ at: approval.requested_at, type: "approval.requested", actor: approval.requested_by, text: "Asked" }] }; }],
    ["POST", "/projects/:p/approvals/:x/decision", ({ x, body }) => decide(find(data.approvals, x), body)],
    ["GET", "/projects/:p/events", ({ p, query }) => { const mine = events.filter((event) => event.project_id === p); const after = Number(query.get("after") ?? 0); return page(mine.filter((event) => event.seq > after).slice(0, Number(query.get("limit") ?? 50)), { head: seq }); }],
    ["GET", "/projects/:p/usage", ({ p, query }) => { const project = find(data.projects, p); return { total_micro_usd: project.spent_micro_usd, simulated_micro_usd: project.simulated_micro_usd, tokens_in: 1_840_000, tokens_out: 121_000, rows: usageRows(query.get("group_by") ?? "agent"), budget: project.budget, month: { to_date_micro_usd: Math.round(project.spent_micro_usd * 0.6), simulated_micro_usd: project.simulated_micro_usd, forecast_micro_usd: Math.round(project.spent_micro_usd * 0.9) } }; }],
    ["GET", "/projects/:p/usage/export", () => "at,agent,cost_micro_usd\r\n2026-11-29T10:00:00.000Z,Ada,1200\r\n"],
    ["GET", "/projects/:p/usage/calls", ({ query }) => page(usageCalls.filter((call) => !query.get("call_id") || call.call_id === query.get("call_id")))],
    ["GET", "/projects/:p/usage/calls/:x", ({ x }) => callWay(x) ?? (() => { throw missing(); })()],
    ["GET", "/projects/:p/audit", ({ query }) => page(audit.filter((entry) => (!query.get("q") || entry.action.includes(query.get("q"))) && (!query.get("type") || entry.type === query.get("type"))), { chain: { position: audit.length, hash: audit[0].hash, verified_at: data.ago(300_000), sealed: true } })],
    ["POST", "/projects/:p/audit/verify", () => ({ ok: true, entries: audit.length, first_bad: null })],
    ["GET", "/projects/:p/audit/export", () => audit.map((entry) => JSON.stringify(entry)).join("\n")],
    ...gatewayRoutes({ Problem, find, page, emit, missing }),
    ...modelRoutes({ Problem, find, page, missing }),
    ["GET", "/jobs", ({ query }) => page(data.jobs.filter((job) => !query.get("state") || job.state === query.get("state")), { queues: data.queues, workers: data.workers })],
    ["POST", "/jobs/:x/:c", ({ x }) => { const at = data.jobs.findIndex((job) => job.id === x && job.state === "dead"); if (at < 0) throw missing(); data.jobs.splice(at, 1); return null; }],
  ].map(([method, path, handle]) => ({ method, handle, pattern: new RegExp(`^/api/v1${path.replaceAll(/:(\w+)/g, "(?<$1>[^/]+)")}$`) }));

  const server = createServer(async (req, res) => {
    const url = new URL(req.url, "http://mock");
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    if (!url.pathname.startsWith("/api/")) return serve(url.pathname, res);
    const open = url.pathname.startsWith("/api/v1/auth/");
    if (failing?.(req.method, url.pathname)) {
      if (req.method !== "GET") writes.push({ method: req.method, path: url.pathname, body: text, key: req.headers["idempotency-key"] ?? null });
      return answer(res, 503, { status: 503, code: "stopping", detail: "This instance is stopping." });
    }
    if (!open && !req.headers.authorization?.startsWith(`Bearer token-${generation}-`)) return answer(res, 401, { status: 401, code: "unauthenticated", detail: "Sign in." });
    if (url.pathname.endsWith("/events/stream")) {
      res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      const last = req.headers["last-event-id"];
      res.write(`retry: 1000\nid: ${last ?? `e:${seq}`}\n\n`);
      if (last) for (const event of events) if (event.seq > Number(last.split(":")[1])) res.write(`event: ${event.type}\nid: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`);
      streams.add(res);
      res.on("close", () => streams.delete(res));
      return undefined;
    }
    for (const route of routes) {
      const match = route.method === req.method ? route.pattern.exec(url.pathname) : null;
      if (!match) continue;
      try {
        if (req.method !== "GET") writes.push({ method: req.method, path: url.pathname, body: text, key: req.headers["idempotency-key"] ?? null });
        const json = req.headers["content-type"]?.includes("json") && text ? JSON.parse(text) : {};
        const result = route.handle({ ...match.groups, req, res, query: url.searchParams, body: json, form: new URLSearchParams(text) });
        return result === ANSWERED ? undefined : answer(res, result === null ? 204 : 200, result);
      } catch (error) {
        if (error instanceof Problem) return answer(res, error.body.status, error.body);
        console.error(error);
        return answer(res, 500, { status: 500, code: "internal", detail: String(error) });
      }
    }
    return answer(res, 404, { status: 404, code: "not_found", detail: `${req.method} ${url.pathname}` });
  });
  return new Promise((resolve) => {
    server.listen(port, "127.0.0.1", () => resolve({
      url: `http://127.0.0.1:${server.address().port}`,
      emit,
      data,
      /** What the gateway's screens show. */
      gateway: { health, keys: gatewayKeys },
      models: { providers: modelProviders, groups: modelGroups },
      decide,
      /** What the server was asked to write, newest last. */
      writes,
      /** From now on the access tokens in use are refused, as when they expire. */
      expireTokens: () => { generation += 1; },
      /** Ends every open stream, as a restart does. */
      dropStreams: () => { for (const stream of streams) stream.end(); streams.clear(); },
      streams: () => streams.size,
      /** Requests for which `when(method, path)` holds are answered 503, as by a server that restarts. */
      failWhen: (when) => { failing = when; },
      close: () => { for (const stream of streams) stream.end(); server.closeAllConnections(); server.close(); },
    }));
  });
}

function answer(res, status, body) {
  if (status === 204) return res.writeHead(204).end();
  if (typeof body === "string") return res.writeHead(status, { "Content-Type": "text/plain" }).end(body);
  return res.writeHead(status, { "Content-Type": status >= 400 ? "application/problem+json" : "application/json" }).end(JSON.stringify(body));
}

function serve(path, res) {
  const wanted = join(DIST, normalize(path));
  const file = path !== "/" && wanted.startsWith(DIST) && existsSync(wanted) && extname(wanted) ? wanted : join(DIST, "index.html");
  if (!existsSync(file)) return res.writeHead(404).end("run `npm run build` first");
  return res.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "application/octet-stream", "Content-Security-Policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'", "X-Content-Type-Options": "nosniff" }).end(readFileSync(file));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await startMock({ port: Number(process.env.PORT ?? 8787) });
  console.log(`${mock.url}  ${LOGIN.email} / ${LOGIN.password}`);
}
