import type { QueryClient, QueryKey } from "@tanstack/react-query";
import { keys } from "./keys";
import type { EventEnvelope, Json, Page } from "./types";

/**
 * What an event does to the query cache. `effectsOf` is pure, so that the mapping is tested
 * without a network; `LiveCache` applies effects, coalescing bursts into one refetch per key.
 */

export interface Effects {
  invalidate: QueryKey[];
  activity: boolean;
  delta: { runId: string; text: string } | null;
  /** The run whose live text is over: its step has the whole of it. */
  said: string | null;
}

/** Bursts of step events arrive within a few milliseconds; one refetch for all of them. */
const COALESCE_MS = 250;
/** A busy run writes steps without end; a page that follows it asks once a second, not four times. */
const FLUSH_INTERVAL_MS = 1_000;
/** Live activity kept in memory; older entries are fetched by scrolling. */
export const ACTIVITY_MAX = 500;
/** A streamed model answer is shown as it grows; its tail is what matters. */
const DELTA_MAX_CHARS = 20_000;

function text(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

export function subjectOf(event: EventEnvelope): { kind: string; id: string } | null {
  const [kind, id] = (event.subject ?? "").split("/");
  return kind && id ? { kind, id } : null;
}

function idIn(event: EventEnvelope, kind: string): string | null {
  const subject = subjectOf(event);
  if (subject?.kind === kind) return subject.id;
  // Payloads name what they refer to as `story_id`, or as `story` (an id, or the thing itself).
  const named = event.data?.[kind];
  if (named && typeof named === "object" && !Array.isArray(named)) return text(named["id"]);
  return text(event.data?.[`${kind}_id`]) ?? text(named);
}

/** Many of these for one run; they change nothing but the run itself. */
const STEP_EVENT = /^run\.(step|model_call|tool_call)_/;
const KNOWN = new Set(["story", "run", "approval", "pr", "agent", "sprint", "cost", "project", "repository", "gateway_key"]);

export function effectsOf(event: EventEnvelope): Effects {
  const p = event.project_id;
  const family = event.type.split(".")[0] ?? "";
  const storyId = idIn(event, "story");
  const runId = idIn(event, "run");
  if (event.type === "run.delta") {
    const delta = text(event.data?.["text"]);
    return { invalidate: [], activity: false, delta: runId && delta ? { runId, text: delta } : null, said: null };
  }
  const invalidate: QueryKey[] = [];
  const story = () => {
    invalidate.push(keys.stories(p));
    invalidate.push(storyId ? keys.story(p, storyId) : keys.storyAll(p));
  };
  /** The project itself, and its row in the list: both count what is in it. */
  const counts = () => invalidate.push(keys.project(p), keys.projects());
  if (family === "story") {
    story();
    invalidate.push(keys.sprints(p));
    counts();
  } else if (family === "run") {
    if (runId) invalidate.push(keys.run(p, runId));
    invalidate.push(keys.runs(p), storyId ? keys.story(p, storyId) : keys.storyAll(p));
    if (!STEP_EVENT.test(event.type)) invalidate.push(keys.agents(p));
  } else if (family === "approval") {
    const id = idIn(event, "approval");
    invalidate.push(keys.approvals());
    if (id) invalidate.push(keys.approval(p, id));
    story();
    counts();
  } else if (family === "pr") {
    const id = idIn(event, "pull_request");
    if (id) invalidate.push(keys.pullRequest(p, id));
    story();
    invalidate.push(keys.approvals());
  } else if (family === "agent") {
    invalidate.push(keys.agents(p), keys.messages(p));
    if (event.type !== "agent.message") counts();
  } else if (family === "sprint") {
    invalidate.push(keys.sprints(p), keys.stories(p));
  } else if (family === "cost") {
    invalidate.push(keys.usage(p), keys.budget(p), keys.gateway(p), keys.organisationCosts());
    counts();
  } else if (event.type === "organisation.budget_changed") {
    // It is told and not kept, so that it is no activity of the project.
    return { invalidate: [keys.organisationCosts(), keys.budget(p)], activity: false, delta: null, said: null };
  } else if (family === "gateway_key") {
    invalidate.push(keys.gatewayKeys(p));
  } else if (family === "project" || family === "repository") {
    invalidate.push(keys.policy(p), keys.members(p));
    counts();
  }
  // Steps and calls are many, and the audit list is long: it is refreshed by what people look for there.
  if (KNOWN.has(family) && family !== "cost" && !STEP_EVENT.test(event.type)) invalidate.push(keys.audit(p));
  // A run that has gone on has said what it was saying.
  return { invalidate, activity: true, delta: null, said: family === "run" ? runId : null };
}

/** Newest first, no event twice, bounded. Returns the same array when nothing is new. */
export function mergeActivity(known: EventEnvelope[], event: EventEnvelope): EventEnvelope[] {
  const same = (other: EventEnvelope) =>
    event.id !== undefined && event.id !== "" ? other.id === event.id : other.seq === event.seq && other.type === event.type;
  if (known.some(same)) return known;
  return [event, ...known].slice(0, ACTIVITY_MAX);
}

/** What a message of the stream carries; an ephemeral one may come as its bare payload. */
export function envelopeOf(message: { event: string; data: string }): EventEnvelope | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(message.data);
  } catch {
    return null;
  }
  if (typeof parsed !== "object" || parsed === null) return null;
  const body = parsed as Partial<EventEnvelope> & Record<string, Json>;
  if (typeof body.type === "string") return { ...body, type: body.type, time: body.time ?? "", project_id: body.project_id ?? "", data: body.data ?? {} };
  return { type: message.event, time: "", project_id: text(body["project_id"]) ?? "", data: body };
}

export class LiveCache {
  private readonly pending = new Map<string, QueryKey>();
  private timer: ReturnType<typeof setTimeout> | null = null;
  private lastFlush = 0;

  constructor(private readonly client: QueryClient) {}

  accept(event: EventEnvelope): void {
    const effects = effectsOf(event);
    if (effects.delta) this.appendDelta(effects.delta.runId, effects.delta.text);
    if (effects.said) this.endDelta(effects.said);
    if (effects.activity) this.prepend(event);
    for (const key of effects.invalidate) this.pending.set(JSON.stringify(key), key);
    this.arm();
  }

  /** Everything may be stale: the stream begins, or could not be resumed. What is being loaded is loaded once more. */
  reset(): void {
    this.pending.set("[]", []);
    this.arm();
  }

  private arm(): void {
    if (this.pending.size > 0) this.timer ??= setTimeout(() => this.flush(), this.delay());
  }

  private delay(): number {
    return Math.max(COALESCE_MS, this.lastFlush + FLUSH_INTERVAL_MS - Date.now());
  }

  /** A request on its way is never cut off, or a slow one would never arrive; what it may have missed is asked for after it. */
  private flush(): void {
    this.timer = null;
    this.lastFlush = Date.now();
    const due = [...this.pending.values()];
    this.pending.clear();
    const busy = due.flatMap((queryKey) => this.client.getQueryCache().findAll({ queryKey, fetchStatus: "fetching" }));
    for (const queryKey of due) void this.client.invalidateQueries({ queryKey }, { cancelRefetch: false });
    for (const query of busy) this.pending.set(query.queryHash, query.queryKey);
    this.arm();
  }

  /** At once, and in place: the next answer may begin within the second, and someone may be reading. */
  private endDelta(runId: string): void {
    if (this.client.getQueryData<string>(keys.delta(runId))) this.client.setQueryData<string>(keys.delta(runId), "");
  }

  private appendDelta(runId: string, delta: string): void {
    this.client.setQueryData<string>(keys.delta(runId), (known) => ((known ?? "") + delta).slice(-DELTA_MAX_CHARS));
  }

  private prepend(event: EventEnvelope): void {
    this.client.setQueryData<Page<EventEnvelope>>(keys.liveActivity(event.project_id), (known) => ({
      items: mergeActivity(known?.items ?? [], event),
    }));
  }
}
