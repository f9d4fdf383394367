import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { act, cleanup, render, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { keys } from "../src/api/keys";
import { LiveCache } from "../src/api/live";
import type { Budget, BudgetNode, MonthOutlook } from "../src/api/types";
import { MonthTile, monthlyOf } from "../src/costs/MonthTile";
import { AllCostsPage } from "../src/routes/allCosts";
import { CostsPage } from "../src/routes/costs";

const search = vi.hoisted(() => ({ by: undefined as string | undefined }));
vi.mock("@tanstack/react-router", () => ({
  Link: ({ children, to }: { children: React.ReactNode; to: string }) => <a href={to}>{children}</a>,
  useParams: () => ({ projectId: "p-1" }), useSearch: () => search, useNavigate: () => () => undefined,
}));
vi.mock("../src/costs/UsageChart", () => ({ default: () => null }));

const node = (extra: Partial<BudgetNode>): BudgetNode => ({
  scope: "project", scope_id: "p-1", name: "Ledger", above: [{ scope: "organisation", scope_id: "o-1", name: "Acme" }], period: "total", hard_limit_micro_usd: null, soft_limit_micro_usd: null, hard_limit_tokens: null, soft_limit_tokens: null,
  starts_at: "1970-01-01T00:00:00Z", ends_at: null, spent_micro_usd: 0, reserved_micro_usd: 0, simulated_micro_usd: 0, spent_tokens: 0, reserved_tokens: 0, ...extra,
});
const MONTH: MonthOutlook = { to_date_micro_usd: 4_000_000, simulated_micro_usd: 0, forecast_micro_usd: 12_000_000 };
const ALL_TIME: Budget = { hard_limit_micro_usd: 50_000_000, soft_limit_micro_usd: null, spent_micro_usd: 40_000_000, simulated_micro_usd: 0, reserved_micro_usd: 0 };
const ofMonth = (extra: Partial<BudgetNode> = {}) => node({ period: "month", hard_limit_micro_usd: 20_000_000, spent_micro_usd: 4_000_000, ...extra });

/** What the server answers with, by the end of the path; and what it was asked. */
let answers: Record<string, unknown> = {};
let asked: string[] = [];
let client: QueryClient;
beforeEach(() => {
  [answers, asked, search.by, client] = [{}, [], undefined, new QueryClient({ defaultOptions: { queries: { retry: false } } })];
  vi.stubGlobal("fetch", vi.fn(async (address: string) => {
    const path = String(address).replace(/^.*\/api\/v1/, "");
    asked.push(path);
    const known = Object.keys(answers).find((end) => path.replace(/\?.*/, "").endsWith(end));
    const answer = known ? answers[known] : { items: [] };
    return answer instanceof Response ? answer.clone() : new Response(JSON.stringify(answer));
  }));
});
afterEach(() => {
  cleanup();
  client.clear();
  vi.unstubAllGlobals();
});
const show = (page: React.ReactNode) => render(<QueryClientProvider client={client}>{page}</QueryClientProvider>);

describe("what was spent this month", () => {
  it("stands against the budget of the month", () => {
    show(<MonthTile label="Spent this month" month={MONTH} monthly={ofMonth()} />);
    const bar = screen.getByRole("progressbar", { name: "Budget of the month" });
    expect([bar.getAttribute("aria-valuenow"), bar.closest(".card")?.textContent]).toEqual(["20", expect.stringContaining("$4.00 of $20.00 (20%)")]);
    expect(screen.getByText("about $12.00 by the end of the month at this pace")).toBeTruthy();
  });
  it("stands against no other budget: without one of the month there is no bar", () => {
    expect(monthlyOf([node({ hard_limit_micro_usd: 50_000_000 }), ofMonth({ hard_limit_micro_usd: null }), ofMonth({ scope: "organisation" })], "project")).toBeUndefined();
    expect(monthlyOf([ofMonth({ hard_limit_micro_usd: 0 })], "project")?.period).toBe("month");
    show(<MonthTile label="Spent this month" month={MONTH} monthly={undefined} />);
    expect(screen.queryByRole("progressbar")).toBeNull();
    expect(screen.getByText("No hard limit for a month")).toBeTruthy();
  });
});

describe("the costs of a project", () => {
  const usage = { total_micro_usd: 40_000_000, simulated_micro_usd: 0, tokens_in: 7, tokens_out: 2, month: MONTH, budget: ALL_TIME, rows: [{ key: "k-1", label: "script", cost_micro_usd: 500, simulated_micro_usd: 0, tokens_in: 7, tokens_out: 2, calls: 2 }] };
  beforeEach(() => {
    answers = { "/usage": usage, "/projects/p-1": { id: "p-1", name: "Ledger", role: "viewer", repository: { state: "ready" } }, "/budgets": { items: [node({ ...ALL_TIME })] } };
  });

  it("shows the budget of all time with what was spent in all time, not with the month", async () => {
    show(<CostsPage />);
    const month = (await screen.findByRole("heading", { name: "Spent this month" })).closest(".card") as HTMLElement;
    expect(within(month).queryByRole("progressbar")).toBeNull();
    const bar = screen.getByRole("progressbar", { name: "Budget of all time" });
    expect(bar.closest(".card")?.textContent).toContain("$40.00 of $50.00 (80%)");
    expect(bar.closest(".card")?.textContent).toContain("since the project began");
  });
  it("are summed up by virtual key", async () => {
    search.by = "key";
    show(<CostsPage />);
    expect(within(await screen.findByRole("region", { name: "Key" })).getByText("script")).toBeTruthy();
    expect(asked.filter((path) => path.includes("/usage?"))).toEqual(["/projects/p-1/usage?group_by=key"]);
  });
});

describe("the costs of an organisation", () => {
  beforeEach(() => {
    const organisation = ofMonth({ scope: "organisation", scope_id: "o-1", name: "Acme", above: [] });
    answers = {
      "/projects": { items: [{ id: "p-1", organisation_id: "o-1", name: "Ledger", role: "admin", spent_micro_usd: 5, simulated_micro_usd: 0, budget: null }] },
      "/me": { user: {}, organisations: [{ id: "o-1", name: "Acme", role: "owner" }], projects: [] },
      "/organisations/o-1/usage": { total_micro_usd: 9_000_000, simulated_micro_usd: 0, tokens_in: 7, tokens_out: 2, month: MONTH, projects: [], projects_left_out: 0 },
      "/organisations/o-1/budgets": { items: [organisation, node({ ...ALL_TIME })] },
    };
  });

  it("are shown with where the month ends and with its budgets above those of its projects", async () => {
    show(<AllCostsPage />);
    const month = await screen.findByRole("region", { name: "Spent this month by Acme" });
    expect(await within(month).findByText("about $12.00 by the end of the month at this pace")).toBeTruthy();
    expect((await within(month).findByRole("progressbar")).getAttribute("aria-valuenow")).toBe("20");
    const project = within(await screen.findByRole("list", { name: "In Organisation Acme" }));
    expect(project.getByText("$40.00")).toBeTruthy();
    expect(project.queryByRole("button"), "a project's budget is changed in the project").toBeNull();
    expect(screen.getByRole("button", { name: "Edit: Organisation Acme, each month" })).toBeTruthy();
  });
  it("are shown project by project with what each has spent this month, the dearest first, and say what is left out", async () => {
    const project = (id: string, organisation_id: string, spent_micro_usd: number) => ({ id, organisation_id, name: id, role: "admin", spent_micro_usd, simulated_micro_usd: 0, budget: null });
    const month = (project_id: string, to_date_micro_usd: number, simulated_micro_usd = 0) => ({ project_id, name: project_id, to_date_micro_usd, simulated_micro_usd });
    answers["/projects"] = { items: [project("old", "o-1", 90_000_000), project("busy", "o-1", 3_000_000), project("foreign", "o-2", 70_000_000)] };
    answers["/organisations/o-1/usage"] = { total_micro_usd: 9, simulated_micro_usd: 0, tokens_in: 7, tokens_out: 2, month: MONTH, projects: [month("busy", 2_500_000), month("old", 0, 1_500_000)], projects_left_out: 3 };
    show(<AllCostsPage />);
    await screen.findByText("$2.5000");
    const rows = within(screen.getByRole("region", { name: "By project" })).getAllByRole("row").slice(1);
    const cells = rows.map((row) => [row.querySelector("th")?.textContent, row.querySelector("td")?.textContent]);
    expect(cells).toEqual([["busy", "$2.5000"], ["old", "≈ $1.50 simulated"], ["foreign", "not shown"]]);
    expect(screen.getByText("Of Acme, this month is shown for the 2 dearest projects; 3 more spent something.")).toBeTruthy();
    expect(screen.getByText(/shown to the owners and admins of its organisation/)).toBeTruthy();
  });
  it("that could not be loaded are not said to be for others", async () => {
    answers["/organisations/o-1/usage"] = new Response(JSON.stringify({ status: 503, detail: "The database is away." }), { status: 503 });
    show(<AllCostsPage />);
    await screen.findByText("What the projects of Acme have spent this month could not be loaded: try again below.");
    expect(within(screen.getByRole("region", { name: "By project" })).getByText("not loaded")).toBeTruthy();
    expect(screen.queryByText(/shown to the owners and admins of its organisation/)).toBeNull();
    const month = within(screen.getByRole("region", { name: "Spent this month by Acme" }));
    expect((await month.findByRole("alert")).textContent).toContain("The database is away.");
    expect(month.getByRole("button", { name: "Try again" })).toBeTruthy();
  });
  it("say nothing of the month to who manages no organisation", async () => {
    answers["/me"] = { user: {}, organisations: [{ id: "o-1", name: "Acme", role: "member" }], projects: [] };
    show(<AllCostsPage />);
    await screen.findByRole("region", { name: "By project" });
    await waitFor(() => expect(client.getQueryData(keys.me())).toBeTruthy());
    expect(screen.queryByRole("columnheader", { name: "This month" })).toBeNull();
    expect(asked.filter((path) => path.includes("/organisations/"))).toEqual([]);
  });
  it("are live: a call in any project, and another limit, load them anew", async () => {
    show(<AllCostsPage />);
    const month = within(await screen.findByRole("region", { name: "Spent this month by Acme" }));
    await month.findByText(/\$4\.00 of|of \$20\.00/);
    const cache = new LiveCache(client);
    answers["/organisations/o-1/usage"] = { total_micro_usd: 9, simulated_micro_usd: 0, tokens_in: 7, tokens_out: 2, month: { ...MONTH, to_date_micro_usd: 6_000_000 }, projects: [], projects_left_out: 0 };
    act(() => cache.accept({ id: "e-1", seq: 1, type: "cost.recorded", time: "", project_id: "p-7", data: {} }));
    expect(await month.findByText("$6.00", {}, { timeout: 5_000 })).toBeTruthy();
    answers["/organisations/o-1/budgets"] = { items: [ofMonth({ scope: "organisation", scope_id: "o-1", name: "Acme", above: [], hard_limit_micro_usd: 30_000_000 })] };
    act(() => cache.accept({ type: "organisation.budget_changed", time: "", project_id: "p-7", data: { organisation_id: "o-1", period: "month" } }));
    expect(await month.findByText(/of \$30\.00/, {}, { timeout: 5_000 })).toBeTruthy();
  });
});
