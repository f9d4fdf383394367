import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { BudgetNode } from "../src/api/types";
import { nodeAlerts } from "../src/costs/budgets";
import { NodeAlerts } from "../src/costs/parts";
import { limitsAbove, limitsWith, raised, refusalOf } from "../src/costs/raise";
import { WhyWaiting } from "../src/run/WhyWaiting";

vi.mock("@tanstack/react-router", () => ({ Link: ({ children, to }: { children: React.ReactNode; to: string }) => <a href={to}>{children}</a> }));

const node = (extra: Partial<BudgetNode>): BudgetNode => ({
  above: [], scope: "project", scope_id: "p-1", name: "Ledger", period: "total", hard_limit_micro_usd: null, soft_limit_micro_usd: null, hard_limit_tokens: null, soft_limit_tokens: null, starts_at: "1970-01-01T00:00:00Z", ends_at: null,
  spent_micro_usd: 0, reserved_micro_usd: 0, simulated_micro_usd: 0, spent_tokens: 0, reserved_tokens: 0, ...extra,
});
const USED_UP = node({ hard_limit_micro_usd: 10_000_000, soft_limit_micro_usd: 8_000_000, hard_limit_tokens: 5_000_000, spent_micro_usd: 9_990_000 });
const OF_ORGANISATION = node({ scope: "organisation", scope_id: "o-1", name: "Acme", period: "month", hard_limit_micro_usd: 100_000_000, spent_micro_usd: 99_000_000 });
const RUN = { id: "r-1", agent: { id: "a-1", name: "Ada", role: "engineer" }, story_id: "s-1" };
const REFUSED = "the project's hard budget of $10.00 would be passed: $9.99 spent, $0.00 reserved, this call may cost $0.05";
const OF_ALL = "the organisation's hard budget for this month would be passed: an owner or admin of the organisation can raise it";
const only = (extra: Partial<BudgetNode>) => {
  const [alert] = nodeAlerts([node(extra)], 0);
  if (!alert) throw new Error("no limit");
  return alert;
};

describe("the server's refusal", () => {
  it("names the budget, and what this call would use of it", () => {
    expect(refusalOf(REFUSED)).toEqual({ scope: "project", period: "total", unit: "money", needs: 10_040_000 });
    expect(refusalOf("the agent's hard budget of 2000 tokens for today would be passed: 507 used, 1044 reserved, this call may use 522")).toEqual({ scope: "agent", period: "day", unit: "tokens", needs: 2_073 });
  });
  it("names an organisation's budget without what counts in it", () => {
    expect(refusalOf(OF_ALL)).toEqual({ scope: "organisation", period: "month", unit: "money", needs: 0 });
    expect(refusalOf(OF_ALL.replace("budget for this month", "budget of tokens"))).toEqual({ scope: "organisation", period: "total", unit: "tokens", needs: 0 });
  });
  it("that is another sentence names none", () => {
    expect(refusalOf("money is short")).toBeNull();
  });
});

describe("a limit", () => {
  it("is raised by half, to the whole cent or token", () => {
    expect(raised(only({ hard_limit_micro_usd: 10_000_000, spent_micro_usd: 10_000_000 }))).toEqual({ to: 15_000_000, amount: "$15.00", byHalf: true });
    expect(raised(only({ hard_limit_micro_usd: 1_010_000 }))?.to).toBe(1_520_000);
    expect(raised(only({ hard_limit_tokens: 2_001, spent_tokens: 2_000 }))).toEqual({ to: 3_002, amount: "3,002 tokens", byHalf: true });
  });
  it("is raised by more where half would not let the call through", () => {
    expect(raised(only({ hard_limit_micro_usd: 0 }))).toEqual({ to: 1_000_000, amount: "$1.00", byHalf: false });
    expect(raised(only({ hard_limit_micro_usd: 2_000_000 }), 4_000_000)).toEqual({ to: 6_000_000, amount: "$6.00", byHalf: false });
  });
  it("at the highest there is is not raised", () => {
    expect(raised(only({ hard_limit_tokens: 1_000_000_000_000_000 }))).toBeNull();
  });
  it("leaves the budget's other limits as they are", () => {
    expect(limitsWith(only({ hard_limit_tokens: 100, soft_limit_tokens: 80, soft_limit_micro_usd: 7 }), 150)).toEqual({ hard_limit_micro_usd: null, soft_limit_micro_usd: 7, hard_limit_tokens: 150, soft_limit_tokens: 80 });
  });
});

describe("the limits above a run", () => {
  const place = { projectId: "p-1", run: RUN, sprintId: "sp-1" };
  const at = (nodes: BudgetNode[], refusal = refusalOf(REFUSED)) => limitsAbove(nodes, place, refusal).map((alert) => `${alert.node.scope} ${alert.unit}`);
  const near = { hard_limit_micro_usd: 100, spent_micro_usd: 90 };
  it("are those of its organisation, project, sprint, agent and itself, and of nobody else", () => {
    const others = ["sprint", "agent", "run", "key"].map((scope) => node({ scope, scope_id: "other", ...near }));
    const mine = [["sprint", "sp-1"], ["agent", "a-1"], ["run", "r-1"]].map(([scope, scope_id]) => node({ scope, scope_id, ...near } as Partial<BudgetNode>));
    expect(at([OF_ORGANISATION, ...others, ...mine]).toSorted()).toEqual(["agent money", "organisation money", "run money", "sprint money"]);
  });
  it("begin with the one that refuses, however little of it is used", () => {
    expect(at([OF_ORGANISATION, node({ hard_limit_micro_usd: 10_000, hard_limit_tokens: 1_000 })])).toEqual(["project money", "organisation money"]);
    expect(at([node({ hard_limit_micro_usd: 10_000 })], null)).toEqual([]);
  });
});

describe("a run that waits for money", () => {
  const sent: { path: string; body: unknown }[] = [];
  let nodes: BudgetNode[] = [];
  let role = "admin";
  let answer: () => Promise<Response> = async () => new Response(null, { status: 204 });
  const json = (body: unknown) => new Response(JSON.stringify(body));
  beforeEach(() => {
    sent.length = 0;
    nodes = [USED_UP];
    role = "admin";
    answer = async () => new Response(null, { status: 204 });
    vi.stubGlobal("fetch", vi.fn(async (address: string, init: RequestInit = {}) => {
      const path = String(address).replace(/^.*\/api\/v1/, "").replace(/\?.*/, "");
      if (init.method === "PUT") {
        sent.push({ path, body: JSON.parse(String(init.body)) });
        return answer();
      }
      if (path.endsWith("/budgets")) return json({ items: nodes });
      if (path.endsWith("/members")) return json({ items: [{ user_id: "u-1", name: "Maria Keller", email: "m@x", role: "admin" }, { user_id: "u-2", name: "Tom", email: "t@x", role: "approver" }] });
      return json(path.includes("/stories/") ? { id: "s-1", sprint_id: null } : { id: "p-1", role, repository: { state: "ready" } });
    }));
  });
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });
  const show = (detail = REFUSED) => render(<QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}><WhyWaiting projectId="p-1" run={RUN} waiting={{ on: "budget", owner: "admin", detail, since: "2026-11-28T12:00:00Z" }} now={0} /></QueryClientProvider>);
  const press = { name: "Raise by half, to $15.00: Project Ledger, all time" };

  it("goes on after one press, which changes one limit and can be made once", async () => {
    let done = (_response: Response) => {};
    answer = () => new Promise<Response>((resolve) => { done = resolve; });
    show();
    const button = await screen.findByRole<HTMLButtonElement>("button", press);
    expect(button.closest("li")?.textContent).toContain("100% of the hard limit of $10.00 is used up");
    fireEvent.click(button);
    await waitFor(() => expect(button.disabled).toBe(true));
    fireEvent.click(button);
    nodes = [{ ...USED_UP, hard_limit_micro_usd: 15_000_000 }];
    done(new Response(null, { status: 204 }));
    await screen.findByText("Raised. Runs that wait look again by themselves.");
    expect(screen.queryByRole("button")).toBeNull();
    expect(sent).toEqual([{ path: "/projects/p-1/budgets/project/p-1/total", body: { hard_limit_micro_usd: 15_000_000, soft_limit_micro_usd: 8_000_000, hard_limit_tokens: 5_000_000, soft_limit_tokens: null } }]);
    await screen.findByText(/67% of the hard limit of \$15\.00/);
  });

  it("says why its limit was not raised, and can be tried again", async () => {
    answer = async () => new Response(JSON.stringify({ status: 403, detail: "Only an admin may do this." }), { status: 403 });
    show();
    fireEvent.click(await screen.findByRole("button", press));
    await screen.findByText("The limit was not raised: Only an admin may do this.");
    expect(screen.getByRole<HTMLButtonElement>("button", press).disabled).toBe(false);
  });

  it("tells who may not raise it whom to ask, and where the costs are", async () => {
    role = "editor";
    show();
    await screen.findByText("An admin of the project can raise it: Maria Keller.");
    expect(screen.queryByRole("button")).toBeNull();
    expect(screen.getByRole("link", { name: "Open costs" }).getAttribute("href")).toBe("/projects/$projectId/costs");
  });

  it("has its organisation's limit raised by who manages that", async () => {
    nodes = [OF_ORGANISATION];
    show(OF_ALL);
    fireEvent.click(await screen.findByRole("button", { name: "Raise by half, to $150.00: Organisation Acme, each month" }));
    await waitFor(() => expect(sent.map(({ path }) => path)).toEqual(["/organisations/o-1/budgets/month"]));
  });

  it("says of its organisation's limit who sees and raises that, to who does not manage it, with the server's reason", async () => {
    nodes = [node({ hard_limit_micro_usd: 10_000_000 })];
    show(OF_ALL);
    await screen.findByText("The budget that refuses is not among those you can see here: it is on the organisation, whose owners and admins see the amounts. The reason above is the server's. They can raise it.");
    expect(screen.getByText(/^The organisation's hard budget for this month would be passed: an owner or admin/)).toBeTruthy();
    expect(screen.queryByRole("button")).toBeNull();
  });

  it("and the costs page raise with the same button, hard limits only", async () => {
    render(<QueryClientProvider client={new QueryClient()}><NodeAlerts projectId="p-1" nodes={[USED_UP]} /></QueryClientProvider>);
    const alerts = within(screen.getByRole("list", { name: "Limits that are near or reached" })).getAllByRole("listitem");
    expect(alerts.length).toBe(2);
    fireEvent.click(await within(alerts[0] as HTMLElement).findByRole("button", press));
    await waitFor(() => expect(sent.length).toBe(1));
    expect(within(alerts[1] as HTMLElement).queryByRole("button")).toBeNull();
  });
});

describe("limits that are near, on the costs page", () => {
  const spent = (scope: string, share: number, extra: Partial<BudgetNode> = {}) => node({ scope, scope_id: scope, name: scope, hard_limit_micro_usd: 1_000_000, spent_micro_usd: share * 10_000, ...extra });
  beforeEach(() => void vi.stubGlobal("fetch", vi.fn(async () => new Response(JSON.stringify({ id: "p-1", role: "admin", repository: { state: "ready" } })))));
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });
  const show = (...nodes: BudgetNode[]) => render(<QueryClientProvider client={new QueryClient()}><NodeAlerts projectId="p-1" nodes={nodes} /></QueryClientProvider>);
  const told = () => screen.getAllByRole("listitem").map((item) => item.querySelector("p")?.textContent?.replace(/ of the (hard|soft) limit.*/, " $1"));

  it("stand in one notice, the most urgent first, and the rest is a key press away", () => {
    show(spent("agent", 85), spent("sprint", 95), spent("run", 100), spent("key", 90), spent("organisation", 200, { hard_limit_micro_usd: null, soft_limit_micro_usd: 1_000_000 }));
    expect(screen.getAllByRole("status").length).toBe(1);
    expect(screen.getByText("5 limits are near or reached, the most urgent first.")).toBeTruthy();
    expect(told()).toEqual(["Run run, all time: 100% hard", "Sprint sprint, all time: 95% hard", "Key key, all time: 90% hard"]);
    expect(screen.getByText("Only models that it still pays for are asked; without one, calls are refused and runs wait until it is raised.")).toBeTruthy();
    const more = screen.getByRole("button", { name: "Show 2 limits more" });
    more.focus();
    expect([document.activeElement, more.getAttribute("aria-expanded")]).toEqual([more, "false"]);
    fireEvent.click(more);
    expect(told().slice(3)).toEqual(["Agent agent, all time: 85% hard", "Organisation organisation, all time: 200% soft"]);
    fireEvent.click(screen.getByRole("button", { name: "Show fewer" }));
    expect(told().length).toBe(3);
  });
  it("are one sentence where there is one", () => {
    show(spent("sprint", 95));
    expect(screen.queryByText(/the most urgent first/)).toBeNull();
    expect(told()).toEqual(["Sprint sprint, all time: 95% hard"]);
    expect(screen.queryByRole("button", { name: /more$/ })).toBeNull();
  });
});
