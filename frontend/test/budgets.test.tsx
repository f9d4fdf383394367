import { QueryClient, QueryClientProvider, useQuery } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import * as queries from "../src/api/queries";
import type { BudgetNode, Run, Story } from "../src/api/types";
import { Budgets } from "../src/costs/Budgets";
import { EMPTY_BUDGET, formOfNode, hasLimit, limitsOf, nodeAlerts, nodeName, runName, tokensUsed } from "../src/costs/budgets";

vi.mock("@tanstack/react-router", () => ({ Link: ({ children, to, ...rest }: { children: React.ReactNode; to: string; "aria-label"?: string }) => <a href={to} aria-label={rest["aria-label"]}>{children}</a> }));

const node = (extra: Partial<BudgetNode>): BudgetNode => ({
  above: [], scope: "project", scope_id: "p-1", name: "Ledger", period: "total", hard_limit_micro_usd: null, soft_limit_micro_usd: null, hard_limit_tokens: null, soft_limit_tokens: null, starts_at: "1970-01-01T00:00:00Z", ends_at: null,
  spent_micro_usd: 0, reserved_micro_usd: 0, simulated_micro_usd: 0, spent_tokens: 0, reserved_tokens: 0, ...extra,
});

describe("an alert about a node of the tree", () => {
  const told = (...nodes: BudgetNode[]) => nodeAlerts(nodes).map(({ node: at, limit, amount, fraction }) => [at.scope, limit, amount, fraction]);
  it("is given from 80 % on, with what is reserved for hard limits only", () => {
    expect(told(node({ hard_limit_micro_usd: 100, spent_micro_usd: 79 }))).toEqual([]);
    expect(told(node({ hard_limit_micro_usd: 100_000_000, spent_micro_usd: 50_000_000, simulated_micro_usd: 20_000_000, reserved_micro_usd: 10_000_000 }))).toEqual([["project", "hard", "$100.00", 0.8]]);
    expect(told(node({ soft_limit_micro_usd: 50, spent_micro_usd: 39, reserved_micro_usd: 10 }))).toEqual([]);
  });
  it("is given about tokens as about money, and what stops calls comes first", () => {
    const soft = node({ scope: "agent", soft_limit_micro_usd: 1_000_000, spent_micro_usd: 2_000_000 });
    const hard = node({ scope: "key", hard_limit_tokens: 1_000, spent_tokens: 850, reserved_tokens: 50 });
    expect(told(soft, hard)).toEqual([["key", "hard", "1,000 tokens", 0.9], ["agent", "soft", "$1.00", 2]]);
  });
  it("is given of a limit of nothing", () => {
    expect(told(node({ hard_limit_micro_usd: 0 }))[0]?.[3]).toBe(1);
  });
});

describe("a budget's form", () => {
  it("takes limits in money and in tokens, and says which field is wrong", () => {
    expect(limitsOf({ ...EMPTY_BUDGET, hard: "12.50", softTokens: "1,500,000" })).toEqual({ limits: { hard_limit_micro_usd: 12_500_000, soft_limit_micro_usd: null, hard_limit_tokens: null, soft_limit_tokens: 1_500_000 } });
    const wrong = limitsOf({ ...EMPTY_BUDGET, scope: "agent", hard: "ten", soft: "-1", hardTokens: "1.5", softTokens: "9999999999999999" });
    expect(Object.keys("errors" in wrong ? wrong.errors : {}).toSorted()).toEqual(["hard", "hardTokens", "soft", "softTokens", "target"]);
  });
  it("without any limit is no budget", () => {
    expect(limitsOf(EMPTY_BUDGET)).toEqual({ errors: { hard: "Set at least one limit." } });
  });
  it("says what the budget says", () => {
    const one = node({ scope: "sprint", scope_id: "s-1", period: "week", hard_limit_micro_usd: 1_250_000, soft_limit_tokens: 9 });
    expect(formOfNode(one)).toEqual({ scope: "sprint", target: "s-1", period: "week", hard: "1.25", soft: "", hardTokens: "", softTokens: "9" });
    expect([hasLimit(one), hasLimit(node({}))]).toEqual([true, false]);
    expect(nodeName(node({ scope: "run", name: null, scope_id: "0192-abcdef" }))).toBe("Run abcdef");
    expect(formOfNode(node({ scope: "run", scope_id: "r-1" })).scope).toBe("run");
    expect(tokensUsed(node({ spent_tokens: 1_200_000, reserved_tokens: 300_000 }), 2_000_000)).toEqual({ text: "1.5M of 2M tokens", fraction: 0.75 });
  });
});

/** A run that waits, and the story that it works on. */
const WAITING = { id: "r-1", story_id: "s-1", agent: { id: "a-2", name: "Linus", role: "engineer" }, stage: "implementation", state: "waiting", started_at: "2026-11-29T10:00:00Z" } as Run;
const STORY = { id: "s-1", number: 7, title: "Sell apples" } as Story;

describe("a run that a budget is put on", () => {
  it("is known by its story and its agent's role, and by no id", () => {
    expect(runName(WAITING, [STORY])).toBe("#7 Sell apples (Engineer Linus, waiting)");
    expect(runName({ ...WAITING, story_id: "gone" }, [STORY])).toBe("Implementation (Engineer Linus, waiting)");
  });
});

describe("the list of budgets", () => {
  const sent: { method: string; path: string; body: unknown }[] = [];
  const nodes = [
    node({ scope: "organisation", scope_id: "o-1", name: "Acme", period: "month", hard_limit_micro_usd: 100_000_000, spent_micro_usd: 30_000_000 }),
    node({ hard_limit_micro_usd: 50_000_000, spent_micro_usd: 12_000_000 }),
    node({ scope: "agent", scope_id: "a-1", name: "Ada", period: "day", hard_limit_tokens: 2_000_000, soft_limit_tokens: 1_600_000, spent_tokens: 1_000_000 }),
  ];
  /** What a list of the project has in it. */
  const listed = (path: string, state: string | null): unknown[] => {
    if (path.endsWith("/budgets")) return nodes;
    if (path.endsWith("/agents")) return [{ id: "a-2", name: "Linus", status: "idle" }];
    if (path.endsWith("/stories")) return [STORY];
    // Those that are over are not asked for.
    if (path.endsWith("/runs")) return state === "waiting" ? [WAITING] : state === "thinking" ? [{ ...WAITING, id: "r-2", state: "thinking", agent: { id: "a-3", name: "Grace", role: "reviewer" } }] : state ? [] : [{ ...WAITING, id: "r-3", state: "failed" }];
    return [];
  };
  beforeEach(() => {
    sent.length = 0;
    HTMLDialogElement.prototype.showModal ??= function showModal(this: HTMLDialogElement) { this.open = true; };
    vi.stubGlobal("fetch", vi.fn(async (address: string, init: RequestInit = {}) => {
      const path = String(address).replace(/^.*\/api\/v1/, "").replace(/\?.*/, "");
      if (init.method && init.method !== "GET") {
        sent.push({ method: init.method, path, body: init.body ? JSON.parse(String(init.body)) : null });
        return new Response(null, { status: 204 });
      }
      return new Response(JSON.stringify({ items: listed(path, new URL(String(address), "http://localhost").searchParams.get("state")) }));
    }));
  });
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });
  function Page({ mayEdit }: { mayEdit: boolean }) {
    return <Budgets owner={{ project: "p-1" }} title="Budgets" query={useQuery(queries.budgets("p-1"))} refresh={[]} mayEdit={mayEdit} />;
  }
  const show = (mayEdit: boolean) => render(<QueryClientProvider client={new QueryClient()}><Page mayEdit={mayEdit} /></QueryClientProvider>);

  it("shows what is used of money and of tokens, and a reader nothing to press", async () => {
    show(false);
    expect((await screen.findByText("Ada")).closest("[data-node]")?.textContent).toContain("1M of 2M tokens (50%)");
    expect(screen.getByText("Acme").closest("[data-node]")?.textContent).toContain("$30.00 of $100.00 (30%)");
    expect(screen.queryByRole("button")).toBeNull();
  });

  it("says of agents and of runs that they stand in the sprint that is worked in now", async () => {
    const note = /every run of it, stands in the sprint/;
    show(false);
    expect(await screen.findByText(note)).toBeTruthy();
    cleanup();
    const ofAgent = nodes.pop() as BudgetNode;
    nodes.push(node({ scope: "run", scope_id: "0192-abcdef", name: null, hard_limit_micro_usd: 1_000_000 }));
    show(false);
    expect(await screen.findByText(note)).toBeTruthy();
    nodes.splice(-1, 1, ofAgent);
  });

  it("leaves the organisation's to who manages it, and the project's own to its settings", async () => {
    show(true);
    const row = async (name: string) => within((await screen.findByText(name)).closest("[data-node]") as HTMLElement);
    expect((await row("Acme")).queryByRole("button")).toBeNull();
    expect((await row("Ledger")).getByRole("link", { name: "Edit: Project Ledger, all time" }).getAttribute("href")).toContain("/settings");
    expect((await row("Ada")).getAllByRole("button").length).toBe(2);
  });

  it("puts a budget on an agent, and takes one away after a question", async () => {
    show(true);
    fireEvent.click(await screen.findByRole("button", { name: "Add budget" }));
    fireEvent.change(screen.getByLabelText("On"), { target: { value: "agent" } });
    fireEvent.change(screen.getByLabelText("Hard limit (USD)"), { target: { value: "3" } });
    fireEvent.click(screen.getByText("Save"));
    expect(screen.getByLabelText("Which one").getAttribute("aria-invalid")).toBe("true");
    await screen.findByText("Linus");
    fireEvent.change(screen.getByLabelText("Which one"), { target: { value: "a-2" } });
    fireEvent.click(screen.getByText("Save"));
    await waitFor(() => expect(sent).toEqual([{ method: "PUT", path: "/projects/p-1/budgets/agent/a-2/month", body: { hard_limit_micro_usd: 3_000_000, soft_limit_micro_usd: null, hard_limit_tokens: null, soft_limit_tokens: null } }]));
    fireEvent.click(screen.getByRole("button", { name: "Remove: Agent Ada, each day" }));
    expect(sent.length).toBe(1);
    fireEvent.click(screen.getAllByText("Remove").at(-1) as HTMLElement);
    await waitFor(() => expect(sent.at(-1)).toEqual({ method: "DELETE", path: "/projects/p-1/budgets/agent/a-1/day", body: null }));
  });

  it("puts a budget on a run that is at work or waits, chosen by its story and its agent's role", async () => {
    show(true);
    fireEvent.click(await screen.findByRole("button", { name: "Add budget" }));
    fireEvent.change(screen.getByLabelText("On"), { target: { value: "run" } });
    await screen.findByText("#7 Sell apples (Engineer Linus, waiting)");
    const which = screen.getByLabelText("Which one");
    expect(Array.from(which.querySelectorAll("option"), (option) => option.textContent)).toEqual(["Choose one", "#7 Sell apples (Reviewer Grace, thinking)", "#7 Sell apples (Engineer Linus, waiting)"]);
    fireEvent.change(which, { target: { value: "r-1" } });
    fireEvent.change(screen.getByLabelText("Period"), { target: { value: "total" } });
    fireEvent.change(screen.getByLabelText("Hard limit (tokens)"), { target: { value: "5000" } });
    fireEvent.click(screen.getByText("Save"));
    await waitFor(() => expect(sent).toEqual([{ method: "PUT", path: "/projects/p-1/budgets/run/r-1/total", body: { hard_limit_micro_usd: null, soft_limit_micro_usd: null, hard_limit_tokens: 5_000, soft_limit_tokens: null } }]));
  });
});
