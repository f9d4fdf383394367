import { subjectOf } from "../api/live";
import type { AuditEntry, EventEnvelope } from "../api/types";
import { money, titleCase } from "../format";
import { t } from "../i18n/en";

/** What an event says in words, and where it leads. Unknown types still read as a sentence. */

type Data = EventEnvelope["data"];

/** The first of these members that says something, here or in the one thing the payload holds. */
function first(data: Data, names: string[]): string {
  const nested = Object.values(data).filter((value): value is Data => value !== null && typeof value === "object" && !Array.isArray(value));
  for (const level of [data, ...nested]) {
    for (const name of names) {
      const value = level[name];
      if (typeof value === "string" && value !== "" && !UUID.test(value)) return value;
      if (typeof value === "number") return `#${value}`;
    }
  }
  return "";
}

/** Ids are for links, not for reading. */
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-/i;
const ANY_UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/i;

export function verbOf(event: EventEnvelope): string {
  return t.activity.verbs[event.type] ?? titleCase(event.type.replaceAll(".", " ")).toLowerCase();
}

type Names = ReadonlyMap<string, string>;
const NOBODY: Names = new Map();

/** What the event is about, by its name where there is one. */
function namedIn(event: Pick<EventEnvelope, "type" | "subject" | "data">, names: Names): string {
  const { data } = event;
  const id = event.type.startsWith("agent.") ? data["agent_id"] : event.subject?.split("/")[1];
  const name = typeof id === "string" ? names.get(id) : undefined;
  return name ?? "";
}

function costOf(data: Data): string {
  const cost = data["cost_micro_usd"];
  if (typeof cost !== "number") return "";
  return data["simulated"] === true ? t.cost.simulated(money(cost)) : money(cost);
}

export function objectOf(event: Pick<EventEnvelope, "type" | "subject" | "data">, names: Names = NOBODY): string {
  const { data } = event;
  if (event.type === "cost.recorded") return costOf(data);
  if (event.type === "agent.message") return first(data, ["text"]);
  const name = namedIn(event, names);
  if (name) return [name, detailOf(event)].filter(Boolean).join(" ");
  const step = /^run\.(step|model_call|tool_call)_/.test(event.type);
  const what = step ? [first(data, ["tool", "model", "name"]), first(data, ["target"])].filter(Boolean).join(" ") : first(data, ["title", "target", "name", "stage", "phase", "number"]);
  const outcome = first(data, ["outcome", "reason"]);
  return [what, outcome ? `(${outcome.replaceAll("_", " ")})` : ""].filter(Boolean).join(" ");
}

/** What happened to what is named, where the verb does not say it. */
function detailOf(event: Pick<EventEnvelope, "type" | "data">): string {
  const detail = first(event.data, event.type === "story.moved" ? ["name", "phase"] : ["outcome", "reason", "status"]);
  return detail ? `(${detail.replaceAll("_", " ")})` : "";
}

/** An audit entry in words; what is recorded, letter by letter, is shown when it is opened. */
export function sentenceOf(entry: Pick<AuditEntry, "type" | "action" | "data">, names: Names = NOBODY): string {
  const verb = t.activity.verbs[entry.type];
  const id = ANY_UUID.exec(entry.action)?.[0];
  const { data } = entry;
  if (!verb || data === null || typeof data !== "object" || Array.isArray(data)) return entry.action.replace(ANY_UUID, (found) => names.get(found) ?? "").trim();
  return [verb, objectOf({ type: entry.type, subject: `${entry.type.split(".")[0] ?? ""}/${id ?? ""}`, data }, names)].filter(Boolean).join(" ");
}

export function actorNameOf(event: EventEnvelope): string {
  return first(event.data, ["actor_name", "agent_name", "user_name"]);
}

export type Target = { kind: "story" | "run" | "approval"; id: string } | null;

export function targetOf(event: EventEnvelope): Target {
  const subject = subjectOf(event);
  if (subject && (subject.kind === "story" || subject.kind === "run" || subject.kind === "approval")) return { kind: subject.kind, id: subject.id };
  const story = event.data["story_id"] ?? event.data["story"];
  return typeof story === "string" ? { kind: "story", id: story } : null;
}

export interface ActivityFilter {
  actor?: string | undefined;
  family?: string | undefined;
}

export function matchesFilter(event: EventEnvelope, filter: ActivityFilter): boolean {
  return (!filter.actor || event.actor_type === filter.actor) && (!filter.family || event.type.startsWith(`${filter.family}.`));
}

/** Live events that the fetched pages do not hold yet. */
export function unseen(live: EventEnvelope[], fetched: EventEnvelope[]): EventEnvelope[] {
  const known = new Set(fetched.map((event) => event.id ?? `${event.seq}`));
  const newest = Math.max(0, ...fetched.map((event) => event.seq ?? 0));
  return live.filter((event) => !known.has(event.id ?? `${event.seq}`) && (event.seq ?? Number.MAX_SAFE_INTEGER) > newest);
}

/** Whether to go on loading by itself: as long as the last pages had something to show. A rare filter must not read the whole log. */
export function mayGoOn(pages: EventEnvelope[][], filter: ActivityFilter, empty = 2): boolean {
  if (!filter.actor && !filter.family) return true;
  return pages.length < empty || pages.slice(-empty).some((page) => page.some((event) => matchesFilter(event, filter)));
}
