import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Job, Run } from "../src/api/types";
import { Confirm } from "../src/jobs/Confirm";
import { Running } from "../src/jobs/tables";
import { unpolled } from "../src/jobs/unpolled";
import { WaitFacts, WhyWaiting, deadlineLabel, until } from "../src/run/WhyWaiting";

vi.mock("@tanstack/react-router", () => ({ Link: ({ children, to }: { children: React.ReactNode; to: string }) => <a href={to}>{children}</a> }));

afterEach(cleanup);

const NOW = Date.parse("2026-11-28T12:00:00Z");
const RETRY: NonNullable<Run["waiting"]> = {
  on: "retry", detail: "the provider did not answer", owner: "syndarix", deadline: "2026-11-28T12:00:42Z",
  job: { id: "7", queue: "agent", polled: true, attempts: 3, attempts_left: 9, next_retry_at: "2026-11-28T12:00:42Z" },
};

const RUN = { id: "r", agent: { id: "a-1", name: "Ada", role: "engineer" }, story_id: "s" };

describe("why a run waits", () => {
  it("names the reason, whose move it is, the next attempt, and how many are left", () => {
    render(<WhyWaiting projectId="p" run={RUN} waiting={RETRY} now={NOW} />);
    const section = screen.getByRole("region", { name: "Why it waits" });
    for (const words of ["The provider did not answer", "it goes on by itself", "42 s", "3 were made, 9 left", "Job 7 in agent"]) expect(section.textContent).toContain(words);
    expect(screen.getByRole("link").getAttribute("href")).toBe("/jobs");
  });

  it("leads to the question that is open, and names who paused", () => {
    const { rerender } = render(<WhyWaiting projectId="p" run={RUN} waiting={{ on: "approval", detail: "a human's decision", owner: "approver", approval_id: "a" }} now={NOW} />);
    expect(screen.getByRole("link").getAttribute("href")).toContain("/approvals/");
    rerender(<WhyWaiting projectId="p" run={RUN} waiting={{ on: "paused", detail: "its agent is paused", owner: "person", owner_name: "Maria Keller" }} now={NOW} />);
    expect(screen.getByText("Maria Keller")).toBeTruthy();
  });

  it("leads to the question about a call of which nobody knows whether it took effect", () => {
    const doubtful = { on: "unknown_outcome", detail: "a human's word on send_mail: it is not known whether the call took effect", owner: "approver", approval_id: "a", deadline: "2026-11-28T13:00:00Z" };
    render(<WhyWaiting projectId="p" run={RUN} waiting={doubtful} now={NOW} />);
    expect(screen.getByRole("link").getAttribute("href")).toContain("/approvals/");
    for (const words of ["Waits for a human's word on send_mail", "Lapses", "Somebody who may decide"]) expect(screen.getByRole("region").textContent).toContain(words);
  });

  it("names who can help a story on, and when people are reminded", () => {
    const { container } = render(<WaitFacts waiting={{ on: "agent", detail: "all are busy", owner: "admin", deadline: "2026-11-28T12:00:42Z" }} now={NOW} />);
    for (const words of ["An owner or admin of the organisation", "People are reminded", "42 s"]) expect(container.textContent).toContain(words);
  });

  it("counts down in seconds, and never below one", () => {
    expect(until("2026-11-28T12:00:00.200Z", NOW)).toBe("1.0 s");
    expect(until("2026-11-28T11:59:59Z", NOW)).toBe("due now");
    expect([deadlineLabel("retry"), deadlineLabel("rate_limit"), deadlineLabel("approval"), deadlineLabel("budget"), deadlineLabel("agent")]).toEqual(["Next attempt", "Asked again", "Lapses", "Looked at again", "People are reminded"]);
  });
});

describe("a queue that nobody polls", () => {
  it("is named only when jobs wait in it", () => {
    const queues = [{ queue: "git", depth: 2, workers: 0 }, { queue: "sync", depth: 0, workers: 0 }, { queue: "agent", depth: 5, workers: 1 }];
    expect(unpolled(queues).map((queue) => queue.queue)).toEqual(["git"]);
  });
});

describe("what is done to jobs", () => {
  const job = { id: "7", queue: "git", kind: "pull_request.merge" } as Job;
  const ask = (what: "redrive" | "purge" | "cancel") => {
    const confirmed = vi.fn<(reason: string) => void>();
    render(<Confirm asking={{ what, jobs: [job] }} onClose={() => undefined} onConfirm={(_asking, reason) => confirmed(reason)} />);
    const button = screen.getByRole<HTMLButtonElement>("button", { name: { redrive: "Run again", purge: "Purge", cancel: "Cancel job" }[what], hidden: true });
    return { confirmed, button, reason: screen.getByLabelText("Reason") };
  };

  it.each(["purge", "cancel"] as const)("needs a reason to %s them", (what) => {
    const { confirmed, button, reason } = ask(what);
    expect(button.disabled).toBe(true);
    fireEvent.change(reason, { target: { value: "  " } });
    expect(button.disabled).toBe(true);
    fireEvent.change(reason, { target: { value: " the branch is wrong " } });
    fireEvent.click(button);
    expect(confirmed.mock.calls).toEqual([["the branch is wrong"]]);
  });

  it("gives the focus back to the job, whether it is cancelled or not", async () => {
    vi.stubGlobal("fetch", vi.fn(async () => Response.json({ id: "7", outcome: "requested" })));
    const running = (extra: Partial<Job>) => <QueryClientProvider client={new QueryClient()}><Running jobs={[{ ...job, run_id: "r-1", project_id: "p-1", attempts: 1, max_attempts: 3, created_at: "2026-11-28T12:00:00Z", errors: [], ...extra } as Job]} workers={[]} projects={[]} /></QueryClientProvider>;
    const { rerender } = render(running({ may_cancel: true }));
    const button = screen.getByRole("button", { name: "Cancel job: pull_request.merge, 7" });
    fireEvent.click(button);
    fireEvent.click(screen.getByRole("button", { name: "Cancel", hidden: true }));
    await vi.waitFor(() => expect(document.activeElement?.closest("[data-job]")?.getAttribute("data-job")).toBe("7"));

    fireEvent.click(button);
    fireEvent.change(screen.getByLabelText("Reason"), { target: { value: "wrong branch" } });
    fireEvent.click(screen.getByRole("button", { name: "Cancel job", hidden: true }));
    rerender(running({ may_cancel: false, cancel_requested: true }));
    (document.activeElement as HTMLElement).blur();
    await vi.waitFor(() => expect(document.activeElement?.closest("[data-job]")?.getAttribute("data-job")).toBe("7"));
    vi.unstubAllGlobals();
  });

  it("keeps the question and its words when the last running job ends meanwhile", () => {
    const running = (jobs: Job[]) => <QueryClientProvider client={new QueryClient()}><Running jobs={jobs} workers={[]} projects={[]} /></QueryClientProvider>;
    const { rerender } = render(running([{ ...job, may_cancel: true, created_at: "2026-11-28T12:00:00Z" }]));
    fireEvent.click(screen.getByRole("button", { name: "Cancel job: pull_request.merge, 7" }));
    fireEvent.change(screen.getByLabelText("Reason"), { target: { value: "wrong branch" } });
    rerender(running([]));
    expect(screen.getByLabelText<HTMLInputElement>("Reason").value).toBe("wrong branch");
  });

  it("runs them again with a reason or without", () => {
    const { confirmed, button } = ask("redrive");
    fireEvent.click(button);
    expect(confirmed.mock.calls).toEqual([[""]]);
  });
});
