import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RunPage } from "../src/routes/run";
import { heldUp } from "../src/story/saying";
import { callWay } from "./mock/calls.mjs";
import { engineerSteps, projects, runs } from "./mock/data.mjs";

const opened = vi.hoisted(() => ({ step: "" }));
vi.mock("@tanstack/react-router", () => ({
  Link: ({ children, to }: { children: React.ReactNode; to: string }) => <a href={to}>{children}</a>,
  useNavigate: () => () => undefined,
  useParams: () => ({ projectId: "p-1", runId: "r-1" }),
  useSearch: () => ({ step: opened.step }),
}));

const numberOf = (kind: string) => engineerSteps.find((step) => step.kind === kind)?.number ?? 0;

describe("a run", () => {
  const asked: string[] = [];
  let steps = engineerSteps;
  beforeEach(() => {
    asked.length = 0;
    steps = engineerSteps;
    vi.stubGlobal("fetch", vi.fn(async (address: string) => {
      const { pathname } = new URL(String(address), "http://localhost");
      const call = /usage\/calls\/(.+)$/.exec(pathname)?.[1];
      if (call) asked.push(call);
      if (call) return new Response(JSON.stringify({ ...callWay(call), skipped: [{ deployment: "house-model", kind: "window_too_small", reason: "its context window is no larger", times: 1, at: "2026-11-29T10:00:00Z" }] }));
      return new Response(JSON.stringify(pathname.includes("/runs/") ? { ...runs[1], state: "succeeded", waiting: null, ended_at: "2026-11-29T10:00:00Z", steps } : projects[0]));
    }));
  });
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });
  const show = (step: number) => {
    opened.step = String(step);
    render(<QueryClientProvider client={new QueryClient()}><RunPage /></QueryClientProvider>);
  };

  it("shows of a model call that is opened which way it took, and whom it passed over", async () => {
    show(numberOf("model"));
    const way = await screen.findByRole("region", { name: /^The way it took/ });
    expect([...way.querySelectorAll("[data-attempt]")].map((one) => one.getAttribute("data-attempt"))).toEqual(["settled", "skipped"]);
    expect(way.textContent).toContain("its context window is no larger");
    expect(asked).toEqual([engineerSteps.find((step) => step.kind === "model")?.id]);
  });

  it("shows a call that a budget refused as held up, and counts only what failed", async () => {
    const error = "the project's hard budget of $10.00 would be passed: $9.99 spent, $0.00 reserved, this call may cost $0.05";
    steps = engineerSteps.map((step) => (step.number === numberOf("model") ? { ...step, status: "failed", error } : step));
    show(numberOf("model"));
    const row = await screen.findByRole("button", { name: /held up by a budget/ });
    expect(row.textContent).not.toContain("Failed");
    expect(screen.getByText("1 error")).toBeTruthy();
    expect(screen.getByRole("button", { name: /run\.tests.*Failed/ })).toBeTruthy();
    expect([heldUp({ kind: "model", status: "failed", error: "the answer could not be read" }), heldUp({ kind: "tool", status: "failed", error }), heldUp({ kind: "model", status: "done", error: null })]).toEqual([false, false, false]);
  });

  it("asks for no such way of a tool's call", async () => {
    show(numberOf("tool"));
    await screen.findByText("Input");
    expect(asked).toEqual([]);
  });
});
