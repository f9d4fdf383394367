// The tree of budgets of the mock.
import { agents, ahead, ago, organisation, projects, runs, sprint, stories } from "./data.mjs";
import { gatewayKeys } from "./gateway.mjs";

const DAY = 86_400_000;
const node = (scope, scope_id, name, period, extra) => ({
  scope, scope_id, name, period, hard_limit_micro_usd: null, soft_limit_micro_usd: null, hard_limit_tokens: null, soft_limit_tokens: null, starts_at: period === "total" ? "1970-01-01T00:00:00Z" : ago(DAY / 2), ends_at: period === "total" ? null : ahead(DAY / 2),
  spent_micro_usd: 0, reserved_micro_usd: 0, simulated_micro_usd: 0, spent_tokens: 0, reserved_tokens: 0, ...extra,
});
/** Those of the first project; the others have their own only. */
const below = [
  node("project", projects[0].id, "Ledger", "month", { hard_limit_micro_usd: 20_000_000, soft_limit_micro_usd: 16_000_000, spent_micro_usd: 9_870_000, simulated_micro_usd: 1_200_000, reserved_micro_usd: 120_000 }),
  node("sprint", sprint.id, sprint.name, "total", { hard_limit_micro_usd: 8_000_000, spent_micro_usd: 3_100_000 }),
  node("agent", agents[0].id, agents[0].name, "day", { hard_limit_tokens: 2_000_000, soft_limit_tokens: 1_600_000, spent_tokens: 1_240_000, reserved_tokens: 36_000, spent_micro_usd: 620_000 }),
  node("key", gatewayKeys[0].id, gatewayKeys[0].name, "week", { hard_limit_micro_usd: 5_000_000, spent_micro_usd: 3_900_000 }),
];
export const above = [node("organisation", organisation.id, organisation.name, "month", { hard_limit_micro_usd: 100_000_000, soft_limit_micro_usd: 60_000_000, spent_micro_usd: 30_380_000, simulated_micro_usd: 4_055_000 })];

export function budgetRoutes({ Problem, page, emit, missing }) {
  const place = (scope, { id, name }) => ({ scope, scope_id: id, name });
  /** What a node is in. The first agent works in the sprint. */
  const placed = (p) => (one) => {
    if (one.scope === "organisation") return { ...one, above: [] };
    const project = projects.find((other) => other.id === (p ?? one.scope_id));
    const agent = one.scope === "run" ? runs.find((run) => run.id === one.scope_id)?.agent : undefined;
    const inSprint = (agent?.id ?? one.scope_id) === agents[0].id;
    const above = [place("organisation", organisation), ...(one.scope === "project" ? [] : [place("project", project)]), ...(inSprint ? [place("sprint", sprint)] : []), ...(agent ? [place("agent", agent)] : [])];
    return { ...one, above };
  };
  const own = (p) => { const { budget, name } = projects.find((project) => project.id === p) ?? {}; return budget ? [node("project", p, name, "total", budget)] : []; };
  const of = (p) => [...own(p), ...(p === projects[0].id ? below : [])];
  const at = (list, scope, id, period) => list.findIndex((one) => one.scope === scope && one.scope_id === id && one.period === period);
  /** A run is called by its story and its agent's role. */
  const runName = (run) => { const story = stories.find((one) => one.id === run.story_id); return `#${story.number} ${story.title} (${run.agent.role.replaceAll("_", " ")})`; };
  const nameOf = (id) => { const run = runs.find((one) => one.id === id); return run ? runName(run) : [...projects, sprint, ...agents, ...gatewayKeys].find((one) => one.id === id)?.name ?? null; };
  const put = (list, scope, id, period, body) => {
    if (Object.values(body).every((limit) => limit === null)) throw new Problem(422, "invalid", "set at least one limit", { errors: [{ field: "hard_limit_micro_usd", message: "set at least one limit, or delete the budget" }] });
    const place = at(list, scope, id, period);
    if (place < 0) list.push(node(scope, id, nameOf(id), period, body));
    else Object.assign(list[place], body);
    return null;
  };
  const remove = (list, scope, id, period) => {
    const place = at(list, scope, id, period);
    if (place < 0) throw missing();
    list.splice(place, 1);
    return null;
  };
  /** The one that every project has is kept with the project. */
  const set = (p, s, x, t, body) => {
    if (s !== "project" || t !== "total") return put(below, s, x, t, body);
    const project = projects.find((one) => one.id === p);
    project.budget = { ...project.budget, ...body };
    return null;
  };
  /** This month by project, the dearest first. */
  const months = () => projects
    .map(({ id, name, spent_micro_usd, simulated_micro_usd }) => ({ project_id: id, name, to_date_micro_usd: spent_micro_usd, simulated_micro_usd }))
    .filter((one) => one.to_date_micro_usd + one.simulated_micro_usd > 0)
    .toSorted((a, b) => b.to_date_micro_usd - a.to_date_micro_usd || b.simulated_micro_usd - a.simulated_micro_usd);
  const changed = (p) => emit("cost.budget_changed", p, `budget/${p}`, {}, "user");
  return [
    ["GET", "/projects/:p/budgets", ({ p }) => page([...above, ...of(p)].map(placed(p)))],
    ["PUT", "/projects/:p/budgets/:s/:x/:t", ({ p, s, x, t, body }) => { set(p, s, x, t, body); changed(p); return null; }],
    ["DELETE", "/projects/:p/budgets/:s/:x/:t", ({ p, s, x, t }) => { remove(below, s, x, t); changed(p); return null; }],
    ["GET", "/organisations/:o/budgets", () => page([...above, ...projects.flatMap((project) => own(project.id))].map(placed(null)))],
    ["GET", "/organisations/:o/usage", () => ({ total_micro_usd: 40_300_000, simulated_micro_usd: 4_055_000, tokens_in: 2_400_000, tokens_out: 160_000, month: { to_date_micro_usd: 30_380_000, simulated_micro_usd: 4_055_000, forecast_micro_usd: 44_200_000 }, projects: months(), projects_left_out: 0 })],
    ["PUT", "/organisations/:o/budgets/:t", ({ o, t, body }) => put(above, "organisation", o, t, body)],
    ["DELETE", "/organisations/:o/budgets/:t", ({ o, t }) => remove(above, "organisation", o, t)],
  ];
}
