import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { StoryPage } from "../src/routes/story";
import { projects, runs, stories } from "./mock/data.mjs";

vi.mock("@tanstack/react-router", () => ({
  Link: ({ children, to }: { children: React.ReactNode; to: string }) => <a href={to}>{children}</a>,
  useNavigate: () => () => undefined,
  useParams: () => ({ projectId: "p-1", storyId: "s-1" }),
  useSearch: () => ({}),
}));

const DETAIL = "the project's hard budget of $10.00 would be passed: $9.99 spent, $0.00 reserved, this call may cost $0.05";
const waiting = { on: "budget", owner: "admin", detail: DETAIL, since: "2026-11-28T12:00:00Z" };
const run = { ...runs[1], id: "r-1", story_id: "s-1", state: "waiting", waiting, ended_at: null, summary: null };
const story = { ...stories[1], id: "s-1", project_id: "p-1", run_id: "r-1", waiting, waiting_for: `waiting for budget (${DETAIL})` };
const node = { above: [], scope: "project", scope_id: "p-1", name: "Ledger", period: "total", hard_limit_micro_usd: 10_000_000, soft_limit_micro_usd: null, hard_limit_tokens: null, soft_limit_tokens: null, starts_at: "1970-01-01T00:00:00Z", ends_at: null, spent_micro_usd: 9_990_000, reserved_micro_usd: 0, simulated_micro_usd: 0, spent_tokens: 0, reserved_tokens: 0 };

describe("the page of a story whose run waits for money", () => {
  beforeEach(() => {
    vi.stubGlobal("fetch", vi.fn(async (address: string) => {
      const path = String(address).replace(/^.*\/api\/v1/, "").replace(/\?.*/, "");
      const answers: [string, unknown][] = [
        ["/timeline", { items: [{ run, steps: [] }] }], ["/stories/s-1", story], ["/runs/r-1", { ...run, steps: [] }], ["/budgets", { items: [node] }], ["/projects/p-1", { ...projects[0], id: "p-1", role: "admin" }],
        ["/me", { user: {}, projects: [], organisations: [] }], ["/system", { queues: [], workers: [] }],
      ];
      return new Response(JSON.stringify(answers.find(([end]) => path.endsWith(end))?.[1] ?? { items: [] }));
    }));
  });
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });

  it("raises the limit with the run's own button, and says once what it waits for", async () => {
    render(<QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}><StoryPage /></QueryClientProvider>);
    await screen.findByRole("button", { name: "Raise by half, to $15.00: Project Ledger, all time" }, { timeout: 4_000 });
    await screen.findByText("11 steps");
    expect(document.body.textContent?.split("would be passed").length).toBe(2);
  });
});
