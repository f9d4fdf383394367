import { cleanup, fireEvent, render, screen, within } from "@testing-library/react";
import axe from "axe-core";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { BudgetNode } from "../src/api/types";
import { BudgetTree } from "../src/costs/BudgetTree";
import { below, treeOf, type TreeNode } from "../src/costs/tree";

vi.mock("@tanstack/react-router", () => ({ Link: ({ children, to }: { children: React.ReactNode; to: string }) => <a href={to}>{children}</a> }));
afterEach(cleanup);

const ACME = { scope: "organisation", scope_id: "o-1", name: "Acme" };
const LEDGER = { scope: "project", scope_id: "p-1", name: "Ledger" };
const SPRINT = { scope: "sprint", scope_id: "s-1", name: "Sprint 7" };
const ADA = { scope: "agent", scope_id: "a-1", name: "Ada" };

const node = (extra: Partial<BudgetNode>): BudgetNode => ({
  ...LEDGER, above: [ACME], period: "total", hard_limit_micro_usd: null, soft_limit_micro_usd: null, hard_limit_tokens: null, soft_limit_tokens: null, starts_at: "1970-01-01T00:00:00Z", ends_at: null,
  spent_micro_usd: 0, reserved_micro_usd: 0, simulated_micro_usd: 0, spent_tokens: 0, reserved_tokens: 0, ...extra,
});
const NODES = [
  node({ ...ACME, above: [], period: "month", hard_limit_micro_usd: 100_000_000, soft_limit_micro_usd: 60_000_000, spent_micro_usd: 30_000_000, reserved_micro_usd: 5_000_000 }),
  node({ period: "day", hard_limit_micro_usd: 2_000_000 }),
  node({ soft_limit_micro_usd: 10_000_000, spent_micro_usd: 4_000_000 }),
  node({ ...SPRINT, above: [ACME, LEDGER], hard_limit_micro_usd: 8_000_000 }),
  node({ scope: "run", scope_id: "0192-abcdef", name: null, above: [ACME, LEDGER, SPRINT, ADA], hard_limit_tokens: 1_000, soft_limit_tokens: 800, spent_tokens: 300, reserved_tokens: 200 }),
  node({ scope: "key", scope_id: "k-1", name: "script", above: [ACME, LEDGER], period: "week", hard_limit_micro_usd: 5_000_000 }),
];

describe("the tree of budgets", () => {
  /** A node by its scope and the periods of its own budgets, with what is in it. */
  const shape = ({ scope, budgets, children }: TreeNode): unknown => [`${scope} ${budgets.map((budget) => budget.period).join(" ")}`.trim(), ...children.map(shape)];

  it("goes from the organisation down to the run, by way of nodes that have no budget", () => {
    expect(treeOf(NODES).map(shape)).toEqual([["organisation month", ["project total day", ["sprint total", ["agent", ["run total"]]], ["key week"]]]]);
  });
  it("is the same in whatever order the budgets come, and has each node once", () => {
    expect(treeOf(NODES.toReversed()).map(shape)).toEqual(treeOf(NODES).map(shape));
    expect(treeOf(NODES).map(below)).toEqual([5]);
  });
  it("has no branch where there is no budget", () => {
    expect(treeOf([])).toEqual([]);
  });
});

describe("the tree of budgets on the page", () => {
  const show = () => render(<main><BudgetTree label="Budgets" nodes={NODES} actions={(one) => <button type="button">Edit {one.scope} {one.period}</button>} /></main>);
  const toggle = (name: string) => screen.getByRole("button", { name });

  it("is lists within lists, each named by what it is in", () => {
    show();
    const inSprint = screen.getByRole("list", { name: "In Sprint Sprint 7" });
    expect(within(inSprint).getByText("Ada")).toBeTruthy();
    expect(within(inSprint).getByText("no budget of its own")).toBeTruthy();
    expect(within(inSprint).queryByText("script")).toBeNull();
    expect(within(screen.getByRole("list", { name: "In Agent Ada" })).getByText("abcdef")).toBeTruthy();
  });
  it("folds what is below a node by a press or by an arrow, and says how much that is", () => {
    show();
    const ledger = toggle("Project Ledger");
    fireEvent.click(ledger);
    expect([ledger.getAttribute("aria-expanded"), ledger.textContent]).toEqual(["false", "ProjectLedger4 below"]);
    expect(screen.queryByRole("list", { name: "In Project Ledger" })).toBeNull();
    expect(screen.getByText("Edit project total"), "its own budgets stay").toBeTruthy();
    fireEvent.keyDown(ledger, { key: "ArrowRight" });
    expect(screen.getByRole("list", { name: "In Project Ledger" })).toBeTruthy();
    fireEvent.keyDown(ledger, { key: "ArrowLeft" });
    expect(document.getElementById(ledger.getAttribute("aria-controls") ?? "")?.hidden).toBe(true);
  });
  it("shows of each budget what is spent, reserved and allowed, and where the soft limit is", () => {
    const { container } = show();
    const budget = (key: string) => container.querySelector<HTMLElement>(`[data-budget="${key}"]`) as HTMLElement;
    const acme = budget("organisation o-1 month");
    expect(acme.textContent).toContain("$30.00 of $100.00 (35%), $5.00 reserved");
    expect(acme.querySelector<HTMLElement>("[data-reserved]")?.style.width).toBe("5%");
    expect(acme.querySelector<HTMLElement>("[data-soft-mark]")?.style.left).toBe("60%");
    expect(acme.textContent).toContain("Soft limit: $60.00");
    expect(within(budget("run 0192-abcdef total")).getByRole("progressbar").getAttribute("aria-valuenow")).toBe("50");
    expect(budget("run 0192-abcdef total").textContent).toContain("500 of 1K tokens (50%), 200 reserved");
    expect(budget("project p-1 total").textContent, "only a soft limit").toContain("40% of the soft limit");
  });
  it("breaks no rule of accessibility, folded and unfolded", async () => {
    const { container } = show();
    fireEvent.click(toggle("Sprint Sprint 7"));
    const { violations } = await axe.run(container, { rules: { "color-contrast": { enabled: false } } });
    expect(violations.map(({ id, nodes }) => [id, nodes.map((one) => one.html)])).toEqual([]);
  });
});
