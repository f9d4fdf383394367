import { QueryClient, QueryObserver, skipToken } from "@tanstack/react-query";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { keys } from "../src/api/keys";
import { ACTIVITY_MAX, LiveCache, effectsOf, envelopeOf, mergeActivity } from "../src/api/live";
import type { EventEnvelope } from "../src/api/types";

const P = "p1";
const event = (type: string, extra: Partial<EventEnvelope> = {}): EventEnvelope => ({
  id: `e:${type}`, type, time: "2026-11-20T10:00:00Z", project_id: P, actor_type: "agent", subject: "", seq: 1, data: {}, ...extra,
});

describe("what an event refreshes", () => {
  it("a story event refreshes the story, the board and the sprint", () => {
    const { invalidate } = effectsOf(event("story.moved", { subject: "story/s1" }));
    expect(invalidate).toEqual(expect.arrayContaining([keys.stories(P), keys.story(P, "s1"), keys.sprints(P)]));
  });

  it("an approval event refreshes the inbox, the approval and its story", () => {
    const { invalidate } = effectsOf(event("approval.decided", { subject: "approval/a1", data: { story_id: "s1" } }));
    expect(invalidate).toEqual(expect.arrayContaining([keys.approvals(), keys.approval(P, "a1"), keys.story(P, "s1"), keys.stories(P)]));
  });

  it("a run event without its story refreshes every open story of the project, but no other project", () => {
    const { invalidate } = effectsOf(event("run.step_finished", { subject: "run/r1" }));
    expect(invalidate).toContainEqual(keys.storyAll(P));
    expect(invalidate).toContainEqual(keys.run(P, "r1"));
    expect(JSON.stringify(invalidate)).not.toContain("p2");
  });

  it("a delta carries text and refreshes nothing", () => {
    expect(effectsOf(event("run.delta", { data: { run_id: "r1", text: "hel" } }))).toEqual({ invalidate: [], activity: false, delta: { runId: "r1", text: "hel" }, said: null });
  });

  it("finds ids in every form that payloads have them", () => {
    const payloads: EventEnvelope["data"][] = [{ story_id: "s1" }, { story: "s1" }, { story: { id: "s1", title: "t" } }];
    for (const data of payloads) {
      expect(effectsOf(event("run.tool_call_finished", { subject: "run/r1", data })).invalidate).toContainEqual(keys.story(P, "s1"));
    }
    expect(effectsOf(event("pr.merged", { subject: "pull_request/9" })).invalidate).toContainEqual(keys.pullRequest(P, "9"));
  });

  it("what is counted, allowed, spent and written down is refreshed by what changes it", () => {
    const refreshed = (type: string) => effectsOf(event(type)).invalidate;
    for (const type of ["story.done", "approval.requested", "agent.spawned", "cost.recorded", "project.updated"]) expect(refreshed(type)).toContainEqual(keys.projects());
    expect(refreshed("project.updated")).toEqual(expect.arrayContaining([keys.policy(P), keys.members(P)]));
    expect(refreshed("cost.budget_changed")).toContainEqual(keys.budget(P));
    expect(refreshed("cost.recorded")).toContainEqual(keys.organisationCosts());
    expect(refreshed("story.done")).toContainEqual(keys.audit(P));
    expect(refreshed("run.tool_call_finished")).not.toContainEqual(keys.audit(P));
  });

  it("a changed budget of the organisation refreshes all that shows it, and is no activity of the project", () => {
    const effects = effectsOf(event("organisation.budget_changed", { data: { organisation_id: "o1", period: "month" } }));
    expect(effects.invalidate).toEqual([keys.organisationCosts(), keys.budget(P)]);
    expect([keys.organisationBudgets("o1")[0], keys.organisationUsage("o1")[0]]).toEqual([...keys.organisationCosts(), ...keys.organisationCosts()]);
    expect(keys.budgets(P).slice(0, 3)).toEqual(keys.budget(P));
    expect(effects.activity).toBe(false);
  });

  it("an unknown event is activity and nothing else", () => {
    expect(effectsOf(event("mesh.updated"))).toEqual({ invalidate: [], activity: true, delta: null, said: null });
  });
});

describe("a message of the stream", () => {
  it("is an envelope, or a bare payload named by its event", () => {
    expect(envelopeOf({ event: "run.delta", data: '{"run_id":"r1","text":"x"}' })).toMatchObject({ type: "run.delta", data: { run_id: "r1", text: "x" } });
    expect(envelopeOf({ event: "story.moved", data: JSON.stringify(event("story.moved")) })).toMatchObject({ type: "story.moved", project_id: P });
    for (const data of ["", "null", "7", "{half"]) expect(envelopeOf({ event: "message", data })).toBeNull();
  });
});

describe("the activity list", () => {
  it("puts the newest first and takes no event twice", () => {
    const one = event("a.b", { id: "1" });
    const two = event("a.b", { id: "2" });
    const list = mergeActivity(mergeActivity([], one), two);
    expect(list.map((item) => item.id)).toEqual(["2", "1"]);
    expect(mergeActivity(list, one)).toBe(list);
  });

  it("stays bounded", () => {
    let list: EventEnvelope[] = [];
    for (let index = 0; index < ACTIVITY_MAX + 20; index += 1) list = mergeActivity(list, event("a.b", { id: String(index) }));
    expect(list).toHaveLength(ACTIVITY_MAX);
  });
});

describe("the live cache", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("refetches once for a burst of events", () => {
    const client = new QueryClient();
    const spy = vi.spyOn(client, "invalidateQueries").mockResolvedValue();
    const cache = new LiveCache(client);
    for (let index = 0; index < 50; index += 1) cache.accept(event("run.step_finished", { id: `e:${index}`, subject: "run/r1", data: { story_id: "s1" } }));
    expect(spy).not.toHaveBeenCalled();
    vi.advanceTimersByTime(300);
    const refreshed = spy.mock.calls.map(([filter]) => JSON.stringify(filter?.queryKey));
    expect(new Set(refreshed).size).toBe(refreshed.length);
    expect(refreshed).toContain(JSON.stringify(keys.run(P, "r1")));
  });

  it("shows the first change soon, and a steady stream once a second", () => {
    const client = new QueryClient();
    const spy = vi.spyOn(client, "invalidateQueries").mockResolvedValue();
    const cache = new LiveCache(client);
    const flushes = () => spy.mock.calls.filter(([filter]) => JSON.stringify(filter?.queryKey) === JSON.stringify(keys.run(P, "r1"))).length;
    for (let index = 0; index < 50; index += 1) {
      cache.accept(event("run.step_finished", { id: `e:${index}`, subject: "run/r1" }));
      vi.advanceTimersByTime(100);
      if (index === 3) expect(flushes()).toBe(1);
    }
    expect(flushes()).toBe(5);
  });

  it("lets a slow request arrive, and asks once more for what it may have missed", async () => {
    const client = new QueryClient();
    const answers: (() => void)[] = [];
    const load = vi.fn(({ signal }: { signal: AbortSignal }) => new Promise<number>((resolve, reject) => {
      answers.push(() => resolve(answers.length));
      signal.addEventListener("abort", () => reject(new Error("cut off")));
    }));
    const stop = new QueryObserver(client, { queryKey: keys.run(P, "r1"), queryFn: load }).subscribe(() => undefined);
    const cache = new LiveCache(client);
    for (let index = 0; index < 3; index += 1) {
      cache.accept(event("run.step_finished", { id: `e:${index}`, subject: "run/r1" }));
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(load).toHaveBeenCalledTimes(1);
    answers[0]?.();
    await vi.advanceTimersByTimeAsync(1_500);
    expect(load).toHaveBeenCalledTimes(2);
    answers[1]?.();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(load).toHaveBeenCalledTimes(2);
    stop();
  });

  it("lets a model's text grow, ends it with its step, and misses nothing of the next", () => {
    const client = new QueryClient();
    const cache = new LiveCache(client);
    const shown: (string | undefined)[] = [];
    const stop = new QueryObserver<string>(client, { queryKey: keys.delta("r1"), queryFn: skipToken }).subscribe((result) => shown.push(result.data));
    const say = (text: string) => cache.accept(event("run.delta", { data: { run_id: "r1", text } }));
    say("Hello ");
    say("there");
    expect(client.getQueryData(keys.delta("r1"))).toBe("Hello there");
    cache.accept(event("run.model_call_finished", { subject: "run/r1" }));
    expect(client.getQueryData(keys.delta("r1"))).toBe("");
    say("Next");
    vi.advanceTimersByTime(5_000);
    expect(client.getQueryData(keys.delta("r1"))).toBe("Next");
    expect(shown.at(-1)).toBe("Next");
    stop();
  });
});
