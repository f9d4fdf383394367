import { describe, expect, it } from "vitest";
import { sentenceOf, verbOf, unseen, targetOf } from "../src/activity/sentence";
import { decisionRefusal, isAnswer, withoutApproval } from "../src/api/actions";
import { ApiError } from "../src/api/client";
import { changesBetween } from "../src/agents/changes";
import type { AgentType, Approval, EventEnvelope, Project, Run, Step, Story } from "../src/api/types";
import { argumentsOf } from "../src/approval/arguments";
import { columnsOf, filterStories, moveTo, step } from "../src/board/columns";
import { optimistic } from "../src/board/commands";
import { age, duration, left, money, parseMoney, shortTime } from "../src/format";
import { projectAlerts, queueAlerts, runAlerts, staleWork } from "../src/inbox/alerts";
import { asText, lacking, loadNote, saveNote } from "../src/approval/note";
import { bulkSplit, busiest, inOrder, matching, moved, toggled, withAnswered } from "../src/inbox/selection";
import { StableKey } from "../src/stableKey";
import { safeNext } from "../src/navigation";
import { waterfall } from "../src/run/waterfall";
import { waitingText } from "../src/story/owner";
import { idleBefore } from "../src/story/Timeline";

const NOW = Date.parse("2026-11-20T12:00:00Z");
const at = (minutes: number) => new Date(NOW + minutes * 60_000).toISOString();
const approval = (extra: Partial<Approval>): Approval => ({ id: "a", project_id: "p", lane: "routine", category: "routine", requested_at: at(-10), ...extra }) as Approval;
const story = (extra: Partial<Story>): Story => ({ id: "s", number: 1, phase: "analysis", started: true, sprint_id: null, title: "T", updated_at: at(-5), deadline: null, ...extra }) as Story;

describe("money and time", () => {
  it("keeps cents exact and small sums visible", () => {
    expect([money(0), money(12_480_000), money(41_200), money(1_234_567_890_000)]).toEqual(["$0.00", "$12.48", "$0.04", "$1,234,567.89"]);
  });
  it("reads amounts without ever passing through a float", () => {
    expect([parseMoney("12.50"), parseMoney("$ 0.000001"), parseMoney("999999999.999999")]).toEqual([12_500_000, 1, 999_999_999_999_999]);
    for (const text of ["", "-1", "1,5", "1e3", "abc", "1.1234567"]) expect(parseMoney(text)).toBeNull();
  });
  it("says durations and ages in one or two units", () => {
    expect([duration(240), duration(8_400), duration(83_000), duration(7_500_000), duration(90_000_000)]).toEqual(["240 ms", "8.4 s", "1 m 23 s", "2 h 5 m", "1 d 1 h"]);
    expect([age(at(0), NOW), age(at(-5), NOW), age(at(-200), NOW), age(at(5), NOW)]).toEqual(["now", "5m", "3h", "now"]);
    expect([left(at(90), NOW), left(at(-1), NOW)]).toEqual(["1 h", null]);
  });
});

describe("the inbox", () => {
  it("shows critical first, then by deadline, then the oldest", () => {
    const items = [approval({ id: "old", requested_at: at(-90) }), approval({ id: "due", expires_at: at(30) }), approval({ id: "critical", lane: "critical" }), approval({ id: "milestone", lane: "milestone" })];
    expect(inOrder(items).map((item) => item.id)).toEqual(["critical", "milestone", "due", "old"]);
  });
  it("filters by every field at once", () => {
    expect(matching([approval({ lane: "routine", project_id: "q" }), approval({ lane: "critical" })], { lane: "routine", project: "q", category: "routine" })).toHaveLength(1);
  });
  it("decides only routine items in bulk", () => {
    const { allowed, refused } = bulkSplit([approval({ id: "1" }), approval({ id: "2", category: "uncertainty" }), approval({ id: "3", lane: "critical", category: "critical" })]);
    expect([allowed.map((item) => item.id), refused.map((item) => item.id)]).toEqual([["1"], ["2", "3"]]);
  });
  it("moves the cursor within the list, from nowhere to an end", () => {
    expect([moved(["a", "b"], null, 1), moved(["a", "b"], null, -1), moved(["a", "b"], "b", 1), moved(["a", "b"], "b", -1), moved([], "x", 1)]).toEqual(["a", "b", "b", "a", null]);
  });
  it("toggles a selection without touching the old one", () => {
    const before = new Set(["a"]);
    expect([...toggled(before, "a")]).toEqual([]);
    expect([...toggled(before, "b")]).toEqual(["a", "b"]);
    expect([...before]).toEqual(["a"]);
  });
  it("keeps the row whose answer is being written, as it was asked", () => {
    const mine = approval({ id: "a", state: "pending", title: "as asked" });
    expect(withAnswered([approval({ id: "b" })], mine).map((item) => item.id)).toEqual(["b", "a"]);
    expect(withAnswered([approval({ id: "a", state: "rejected" })], mine)).toEqual([mine]);
    const still = [approval({ id: "a", state: "pending", title: "newer" })];
    expect(withAnswered(still, mine)).toBe(still);
  });
  it("watches the projects where most goes on, in their own order", () => {
    const one = (id: string, open: number) => ({ id, counts: { approvals_pending: 0, stories_open: open, agents: 0 } }) as Project;
    expect(busiest([one("idle", 0), one("busy", 3), one("some", 1)], 2).map((item) => item.id)).toEqual(["busy", "some"]);
  });
  it("counts unresolved down only for what was there", () => {
    const page = { items: [approval({ id: "a" })], unresolved: 1 };
    expect(withoutApproval(page, "a").unresolved).toBe(0);
    expect(withoutApproval(page, "z").unresolved).toBe(1);
  });
  it("says who was first, and that a question moved", () => {
    const problem = (code: string, extra = {}) => new ApiError({ status: 409, code, ...extra });
    expect(decisionRefusal(problem("approval_already_decided", { decided_by: { name: "Tom" }, decided_at: at(0), outcome: "rejected" }))).toMatch(/^Tom was first: rejected, /);
    expect(decisionRefusal(problem("approval_already_decided", { decided_by: { id: "me", name: "Maria" }, outcome: "approved" }), "me")).toBe("You decided this already: approved.");
    expect(decisionRefusal(problem("approval_already_decided", { decided_by: null, outcome: "expired" }), "me")).toMatch(/no answer any more: expired/);
    expect(decisionRefusal(problem("approval_changed"))).toMatch(/changed/);
    expect(decisionRefusal(problem("other"))).toBeNull();
    expect(decisionRefusal(new Error("x"))).toBeNull();
  });
});

describe("an answer", () => {
  const silent = { action: "pull_request_merge", note: " ", comments: 0 };
  it("that sends back or rejects needs words; a question to a person needs the answer", () => {
    expect([lacking("approved", silent), lacking("changes_requested", silent), lacking("rejected", silent)]).toEqual([null, "change", "reason"]);
    expect(lacking("changes_requested", { ...silent, comments: 1 })).toBeNull();
    expect(lacking("rejected", { ...silent, note: "No." })).toBeNull();
    expect(lacking("approved", { ...silent, action: "human_input" })).toBe("answer");
    expect(lacking("approved", { ...silent, action: "human_input", note: "42" })).toBeNull();
  });
  it("that was not sent keeps its note, and can be copied whole", () => {
    saveNote("a1", "Nearly.");
    expect([loadNote("a1"), loadNote("a2")]).toEqual(["Nearly.", ""]);
    saveNote("a1", "");
    expect(loadNote("a1")).toBe("");
    expect(asText("Nearly.", [{ path: "a.rs", line: 3, side: "old", body: "Why?" }])).toBe("Nearly.\n\na.rs:3 (before)\nWhy?");
  });
  it("keeps its key until the server has answered, and for the same content only", () => {
    const key = new StableKey();
    const first = key.for({ outcome: "approved" });
    expect(key.for({ outcome: "approved" })).toBe(first);
    expect(key.for({ outcome: "rejected" })).not.toBe(first);
    const lost = [new ApiError({ status: 0, code: "unreachable" }), new ApiError({ status: 503 }), new ApiError({ status: 409, code: "in_progress" }), new Error("x")];
    expect(lost.map(isAnswer)).toEqual([false, false, false, false]);
    expect(isAnswer(new ApiError({ status: 422 }))).toBe(true);
  });
});

describe("alerts and stale work", () => {
  const budget = { hard_limit_micro_usd: 100, spent_micro_usd: 40, reserved_micro_usd: 10, simulated_micro_usd: 30 };
  const project = (extra: Partial<Project>) => ({ id: "p", name: "P", repository: { state: "ready" }, budget: null, ...extra }) as Project;
  it("warns of a budget from 80 %, counting what the limit counts", () => {
    expect(projectAlerts([project({ budget })])).toMatchObject([{ kind: "budget", fraction: 0.8 }]);
    expect(projectAlerts([project({ budget: { ...budget, spent_micro_usd: 30 } })])).toEqual([]);
    expect(projectAlerts([project({ repository: { state: "failed" } })])).toMatchObject([{ kind: "import_failed" }]);
  });
  it("tells of stalled and parked runs, and of failures for a day", () => {
    const run = (state: string, extra = {}) => ({ id: state + JSON.stringify(extra), state, started_at: at(-30), agent: {}, ...extra }) as Run;
    const kinds = runAlerts(project({}), [run("stalled"), run("failed"), run("failed", { ended_at: at(-3_000) }), run("waiting", { waiting: { on: "budget" } }), run("waiting", { waiting: { on: "approval" } }), run("succeeded")], NOW).map((alert) => alert.kind === "run" && alert.state);
    expect(kinds).toEqual(["stalled", "failed", "parked"]);
  });
  it("names a queue that nobody works on", () => {
    expect(queueAlerts({ queues: [{ queue: "git", depth: 2, oldest_age_seconds: 5, workers: 0 }, { queue: "agent", depth: 0, oldest_age_seconds: null, workers: 0 }] } as never)).toMatchObject([{ queue: "git" }]);
  });
  it("finds blocked, overdue and idle stories, but no finished or unstarted ones", () => {
    const found = staleWork(project({}), [story({ id: "1", phase: "blocked" }), story({ id: "2", deadline: at(-1) }), story({ id: "3", updated_at: at(-2_000) }), story({ id: "4" }), story({ id: "5", phase: "done", updated_at: at(-9_000) }), story({ id: "6", started: false, updated_at: at(-9_000) })], NOW);
    expect(Object.fromEntries(found.map((item) => [item.story.id, item.why]))).toEqual({ 1: "blocked", 2: "overdue", 3: "idle" });
  });
});

describe("the board", () => {
  const stories = [story({ id: "a", number: 2 }), story({ id: "b", number: 1 }), story({ id: "c", number: 3, phase: "review" }), story({ id: "d", number: 4, phase: "blocked", blocked_from: "review" }), story({ id: "e", number: 5, started: false }), story({ id: "f", number: 6, phase: "cancelled" })];
  const columns = columnsOf(stories);
  it("keeps a blocked story in its column and hides a cancelled one", () => {
    expect(Object.fromEntries(Object.entries(columns).filter(([, list]) => list.length > 0).map(([name, list]) => [name, list.map((item) => item.id)]))).toEqual({ waiting: ["e"], analysis: ["b", "a"], review: ["c", "d"] });
  });
  it("moves the cursor over empty columns and keeps the row", () => {
    expect([step(columns, null, "down"), step(columns, "b", "down"), step(columns, "a", "right"), step(columns, "d", "left"), step(columns, "c", "right"), step(columns, "e", "left")]).toEqual(["e", "a", "d", "a", "c", "e"]);
  });
  it("starts a story by a move, and names the guard of every other one", () => {
    expect(moveTo(story({ started: false }), "analysis")).toEqual({ kind: "command", name: "start" });
    expect(moveTo(story({ phase: "review" }), "testing")).toEqual({ kind: "refused", guard: "testing" });
    expect(moveTo(story({ phase: "review" }), "analysis")).toEqual({ kind: "refused", guard: "back" });
    expect(moveTo(story({ phase: "review" }), "review")).toEqual({ kind: "none" });
  });
  it("filters by sprint, backlog, phase and words", () => {
    const list = [story({ id: "1", sprint_id: "x", title: "Round amounts" }), story({ id: "2", number: 22 })];
    expect(filterStories(list, { sprint: "backlog" }).map((item) => item.id)).toEqual(["2"]);
    expect(filterStories(list, { q: "ROUND", sprint: "x" }).map((item) => item.id)).toEqual(["1"]);
    expect(filterStories(list, { q: "#22" }).map((item) => item.id)).toEqual(["2"]);
  });
  it("shows a command at once, and can take it back", () => {
    const before = story({ phase: "design" });
    const blocked = optimistic(before, { name: "block", reason: "r" });
    expect(blocked).toMatchObject({ phase: "blocked", blocked_from: "design", blocked_reason: "r" });
    expect(optimistic(blocked, { name: "unblock" })).toMatchObject({ phase: "design", blocked_from: null });
    expect(before.phase).toBe("design");
  });
});

describe("runs", () => {
  const one = (number: number, from: number, to: number | null, extra = {}) => ({ id: String(number), number, started_at: at(from), ended_at: to === null ? null : at(to), status: to === null ? "started" : "done", ...extra }) as Step;
  it("draws steps in order inside the track, with long waits cut", () => {
    const { bars, totalMs } = waterfall([one(2, 600, 601), one(1, 0, 1)], NOW);
    expect(bars.map((bar) => bar.step.number)).toEqual([1, 2]);
    expect(totalMs).toBe(150_000);
    for (const bar of bars) expect(bar.left + bar.width).toBeLessThanOrEqual(100.000_1);
  });
  it("lets a running step grow to now", () => {
    expect(waterfall([one(1, -2, null)], NOW).totalMs).toBe(120_000);
    expect(waterfall([], NOW).bars).toEqual([]);
  });
  it("mentions a pause of a minute, not of seconds", () => {
    const steps = [one(1, 0, 1), one(2, 1.5, 2), one(3, 10, 11)];
    expect([idleBefore(steps, 0), idleBefore(steps, 1), idleBefore(steps, 2)]).toEqual([0, 0, 480_000]);
  });
});

describe("versions of an agent type", () => {
  const type = { id: "1", version: 1, name: "A", limits: { max_steps: 40 }, expertise: ["rust"] } as AgentType;
  it("tell what they changed, and leave identity out", () => {
    expect(changesBetween(type, { ...type, id: "2", version: 2, limits: { ...type.limits, max_steps: 60 }, expertise: [] })).toEqual([
      { field: "limits", before: "max_steps 40", after: "max_steps 60" },
      { field: "expertise", before: "rust", after: "–" },
    ]);
    expect(changesBetween(type, { ...type, version: 2 })).toEqual([]);
  });
});

describe("small rules", () => {
  it("an edited argument is a change only when its value is", () => {
    expect([argumentsOf(null, { a: 1 }).kind, argumentsOf('{ "a":  1 }', { a: 1 }).kind, argumentsOf('{"a":2}', { a: 1 }).kind, argumentsOf("{", { a: 1 }).kind]).toEqual(["same", "same", "changed", "invalid"]);
  });
  it("a sign-in leads only into this application", () => {
    expect([safeNext("/projects/1?x=2"), safeNext("//evil.example"), safeNext("/\\evil.example"), safeNext("https://evil.example"), safeNext("javascript:x"), safeNext(undefined)]).toEqual(["/projects/1?x=2", "/inbox", "/inbox", "/inbox", "/inbox", "/inbox"]);
  });
  it("events read as sentences and lead somewhere", () => {
    const event = (type: string, extra: Partial<EventEnvelope> = {}) => ({ id: type, type, time: at(0), project_id: "p", data: {}, seq: 3, ...extra }) as EventEnvelope;
    expect(verbOf(event("story.created"))).toBe("wrote the story");
    expect(verbOf(event("mesh.context_updated"))).toBe("mesh context updated");
    expect(targetOf(event("pr.merged", { subject: "pr/1", data: { story_id: "s" } }))).toEqual({ kind: "story", id: "s" });
    expect(unseen([event("new", { seq: 9 }), event("old", { seq: 3 })], [event("old", { seq: 3 })]).map((item) => item.type)).toEqual(["new"]);
  });
});

describe("what a story waits for", () => {
  const story = { phase: "design" as const, waiting_for: "Ada works on the design since 2020-11-20 08:34 UTC", updated_at: "2020-11-20T08:34:00Z" };
  it("is told in the reader's time", () => {
    expect(waitingText(story)).not.toContain("UTC");
    expect(waitingText(story)).toMatch(/^Ada works on the design since Nov (19|20|21), 2020/);
    expect(shortTime(new Date().toISOString())).toMatch(/^\d{2}:\d{2}$/);
  });
});

describe("an audit entry in words", () => {
  const id = "01a1f804-425d-77e5-b73e-05853668f1b3";
  it("names what it is about, and shows no ids", () => {
    const entry = { type: "story.done", action: `story done ${id}`, data: { commit: "a94" } };
    expect(sentenceOf(entry, new Map([[id, "#1 Reading time"]]))).toBe("finished the story #1 Reading time");
    expect(sentenceOf(entry)).toBe("finished the story");
    expect(sentenceOf({ type: "organisation.founded", action: "founded the organisation Acme", data: {} })).toBe("founded the organisation Acme");
    expect(sentenceOf({ type: "cost.recorded", action: "cost recorded x", data: { cost_micro_usd: 20_000, simulated: true } })).toBe("recorded a cost $0.02 simulated");
  });
});
