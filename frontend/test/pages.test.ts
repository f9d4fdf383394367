import { describe, expect, it } from "vitest";
import { mayGoOn } from "../src/activity/sentence";
import type { AuditEntry, EventEnvelope, Project, Sprint, Step, Story, UsageRow } from "../src/api/types";
import { chainState } from "../src/audit/chain";
import { grouped } from "../src/audit/group";
import { burnDown } from "../src/board/burndown";
import { needsPerson, stepList } from "../src/board/columns";
import { possible, storyActions } from "../src/board/commands";
import { lastDays } from "../src/costs/days";
import { money, moneyColumn } from "../src/format";
import { t } from "../src/i18n/en";
import { mayReload } from "../src/replaced";
import { changeOf } from "../src/settings/change";
import { titleOf } from "../src/shell/Breadcrumbs";
import { sectionOf } from "../src/shell/place";
import { StableKey } from "../src/stableKey";
import { sayingOf } from "../src/story/saying";
import { toneOf } from "../src/ui/status";

const NOW = Date.parse("2026-11-20T12:00:00Z");
const at = (minutes: number) => new Date(NOW + minutes * 60_000).toISOString();
const story = (extra: Partial<Story>): Story => ({ id: "s", number: 1, phase: "analysis", started: true, sprint_id: null, title: "T", owner: { kind: "none" }, updated_at: at(-5), ...extra }) as Story;

describe("where one is", () => {
  it("is marked in the navigation, on the pages below a section too", () => {
    expect(["/inbox", "/projects", "/projects/p", "/projects/p/stories/s", "/projects/p/runs/r", "/projects/p/approvals/a", "/approvals/a", "/projects/p/audit", "/nowhere"].map(sectionOf)).toEqual(["inbox", "projects", "board", "board", "board", "inbox", "inbox", "audit", null]);
  });
  it("is the beginning of the window's title", () => {
    const crumbs = [{ label: "Projects", to: { page: "projects" as const } }, { label: "Ledger", to: { page: "project" as const, projectId: "p" } }];
    expect(titleOf([...crumbs, { label: "Costs" }], 0)).toBe("Costs · Ledger · Syndarix");
    expect(titleOf([...crumbs, { label: "Approval", title: "Merge PR 4" }], 3)).toBe("(3) Merge PR 4 · Ledger · Syndarix");
    expect(titleOf([], 0)).toBe("Syndarix");
  });
});

describe("money", () => {
  it("is rounded to cents, and what is less than a cent never reads as nothing", () => {
    expect([money(32_000), money(30_400), money(3_200), money(20), money(0)]).toEqual(["$0.03", "$0.03", "$0.0032", "<$0.0001", "$0.00"]);
  });
  it("has the same digits in all of a column", () => {
    expect([moneyColumn(32_000), moneyColumn(30_400), moneyColumn(12_480_000), moneyColumn(0), moneyColumn(20)]).toEqual(["$0.0320", "$0.0304", "$12.4800", "$0.0000", "<$0.0001"]);
  });
});

describe("the chart of costs", () => {
  const row = (key: string, cost: number) => ({ key, label: key, cost_micro_usd: cost, simulated_micro_usd: 0 }) as UsageRow;
  it("shows the last thirty days, and days on which nothing was spent", () => {
    const rows = Array.from({ length: 60 }, (_, index) => row(new Date(NOW - (59 - index) * 86_400_000).toISOString().slice(0, 10), index));
    const days = lastDays(rows.filter((_row, index) => index !== 58), new Date(NOW));
    expect([days.length, days[0]?.day, days.at(-1)]).toEqual([30, "2026-10-22", { day: "2026-11-20", real: 59, simulated: 0 }]);
    expect(days.at(-2)).toEqual({ day: "2026-11-19", real: 0, simulated: 0 });
  });
});

describe("the audit chain", () => {
  const chain = { position: 9, hash: "h", sealed: true, verified_at: null, verified_ok: null };
  const verdict = { ok: true, entries: 9, erased: 0, first_bad: null, head: "h", unsealed: 0 };
  it("is green only when it was verified and is whole", () => {
    expect(chainState(chain, undefined).kind).toBe("unknown");
    expect(chainState({ ...chain, verified_at: at(0), verified_ok: true }, undefined).kind).toBe("intact");
    expect(chainState(chain, verdict).kind).toBe("intact");
  });
  it("is broken when anybody has found it so", () => {
    expect(chainState({ ...chain, verified_at: at(0), verified_ok: false }, undefined)).toMatchObject({ kind: "broken", position: null });
    expect(chainState({ ...chain, verified_at: at(0), verified_ok: true }, { ...verdict, ok: false, first_bad: { position: 4, reason: "hash" } })).toMatchObject({ kind: "broken", position: 4 });
  });
  it("shows the steps of one agent as one row, and nothing else", () => {
    const entry = (id: string, type: string, actor = "ada") => ({ id, type, actor: { type: "agent", id: actor } }) as AuditEntry;
    const rows = grouped([entry("1", "run.succeeded"), entry("2", "run.tool_call_finished"), entry("3", "cost.recorded"), entry("4", "run.model_call_started"), entry("5", "run.tool_call_started", "bela"), entry("6", "story.done")]);
    expect(rows.map((row) => (row.kind === "entry" ? row.entry.id : row.entries.map((item) => item.id).join("+")))).toEqual(["1", "2+3+4", "5", "6"]);
  });
  it("has a tone for how grave an entry is, and a call for how it ended", () => {
    expect([toneOf("warning"), toneOf("settled"), toneOf("reserved")]).toEqual(["warn", "ok", "info"]);
  });
});

describe("the activity", () => {
  const event = (type: string) => ({ type, actor_type: "agent", time: at(0), project_id: "p", data: {} }) as EventEnvelope;
  it("does not read the whole log for a filter that matches nothing", () => {
    const pages = [[event("run.started")], [event("run.started")], [event("run.started")]];
    expect([mayGoOn(pages, {}), mayGoOn(pages, { family: "run" }), mayGoOn(pages, { family: "sprint" }), mayGoOn(pages.slice(0, 1), { family: "sprint" })]).toEqual([true, true, false, true]);
  });
});

describe("the list of stories", () => {
  const stories = [story({ id: "a" }), story({ id: "b", phase: "cancelled" }), story({ id: "c", phase: "done" })];
  it("is walked in the order in which it is shown, cancelled ones included", () => {
    expect([stepList(stories, null, 1), stepList(stories, "a", 1), stepList(stories, "b", 1), stepList(stories, "c", 1), stepList(stories, null, -1), stepList([], null, 1)]).toEqual(["a", "b", "c", "c", "c", null]);
  });
  it("asks nothing of a story that is over", () => {
    expect([possible(story({ phase: "done" })), possible(story({ phase: "cancelled", started: false }))]).toEqual([{ start: false, block: false, move: false, cancel: false }, { start: false, block: false, move: false, cancel: false }]);
    expect(possible(story({ started: false }))).toEqual({ start: true, block: false, move: true, cancel: true });
  });
  it("names a key in a menu only where it is bound", () => {
    const hints = (bound: boolean) => storyActions(story({}), () => undefined, () => undefined, bound).flatMap((item) => (item === "separator" || !item.hint ? [] : [item.hint]));
    expect([hints(true), hints(false)]).toEqual([["S", "B", "M"], []]);
  });
  it("says that a person is needed as long as the story goes on", () => {
    const human = { kind: "human" } as Story["owner"];
    expect([needsPerson(story({ owner: human })), needsPerson(story({ approval_id: "a" })), needsPerson(story({ owner: human, phase: "done" })), needsPerson(story({}))]).toEqual([true, true, false, false]);
  });
});

describe("a sprint", () => {
  it("is one day over, or two days", () => {
    expect([t.board.daysLeft(-1), t.board.daysLeft(-2), t.board.daysLeft(0), t.board.daysLeft(1)]).toEqual(["1 day over", "2 days over", "last day", "1 day left"]);
  });
  it("burns down by what is done, day by day until today", () => {
    const sprint = { id: "x", starts_on: "2026-11-18", ends_on: "2026-11-27" } as Sprint;
    const mine = (extra: Partial<Story>) => story({ sprint_id: "x", points: 3, ...extra });
    const stories = [mine({ phase: "done", updated_at: "2026-11-19T10:00:00Z" }), mine({}), mine({ phase: "cancelled" }), story({ points: 8 })];
    expect(burnDown(sprint, stories, NOW)).toEqual({ total: 6, days: 10, left: [6, 3, 3] });
    expect(burnDown(sprint, [], NOW)).toBeNull();
  });
});

describe("a step in one line", () => {
  const model = (output: Step["output"]) => sayingOf({ kind: "model", target: null, output });
  it("is its target, or the first words of the answer", () => {
    expect(sayingOf({ kind: "tool", target: "src/a.rs", output: { blocks: [] } })).toBe("src/a.rs");
    expect(model({ blocks: [{ type: "text", text: "I look\n  first." }, { type: "tool_use", name: "tree", input: {} }] })).toBe("I look first.");
    expect(model({ blocks: [{ type: "tool_use", name: "tree", input: {} }, { type: "tool_use", name: "log", input: {} }] })).toBe("tree, log");
    expect(sayingOf({ kind: "tool", target: null, output: "ok" })).toBe("");
  });
  it("is found in an answer that was cut, too", () => {
    expect(model('{"stop": "tool_use", "blocks": [{"type": "text", "text": "Now \\"this\\".\\nAnd"}, {"id": "c", "name": "write_fi')).toBe('Now "this". And');
    expect(model("Plain words")).toBe("Plain words");
    expect(model(null)).toBe("");
  });
});

describe("a change of the settings", () => {
  const project = { name: "Ledger", autonomy: "milestone", confidence_threshold: 0.85, test_command: null, gateway_cache_seconds: null } as Project;
  it("holds only what was changed here", () => {
    expect(changeOf(project, {})).toEqual({});
    expect(changeOf(project, { name: "Ledger ", threshold: "0.85", test: "" })).toEqual({});
    expect(changeOf(project, { test: "make test", threshold: "0.9" })).toEqual({ test_command: "make test", confidence_threshold: 0.9 });
    expect(changeOf({ ...project, test_command: "x" }, { test: " " })).toEqual({ test_command: null });
    expect(changeOf(project, { cache: "60" })).toEqual({ gateway_cache_seconds: 60 });
    expect(changeOf({ ...project, gateway_cache_seconds: 60 }, { cache: "" })).toEqual({ gateway_cache_seconds: null });
  });
});

describe("trying again", () => {
  it("sends the same content under the same key, and other content under another", () => {
    const keys = new StableKey();
    const first = keys.for({ title: "a" });
    expect(keys.for({ title: "a" })).toBe(first);
    expect(keys.for({ title: "b" })).not.toBe(first);
  });
  it("is another wish once it was done", () => {
    const keys = new StableKey();
    const first = keys.for("a");
    keys.done();
    expect(keys.for("a")).not.toBe(first);
  });
  it("loads a page of an older version anew, once", () => {
    expect([mayReload(null, NOW), mayReload(String(NOW - 5_000), NOW), mayReload(String(NOW - 600_000), NOW)]).toEqual([true, false, true]);
  });
});
