import type { Story } from "../api/types";
import { dateTime, shortTime } from "../format";
import { t } from "../i18n/en";

/** Who has the story now; a person who is asked may have no name yet: anyone with the role may answer. */
export function ownerName(story: Pick<Story, "owner">): string {
  const { kind, name } = story.owner;
  if (name) return name;
  return kind === "human" ? t.actor.kind("user") : kind === "agent" ? t.actor.kind("agent") : t.story.nobody;
}

/** How the server writes a moment in a sentence. */
const SERVER_TIME = /(\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}) UTC/g;

/** What it waits for, as the server says it, with moments in the reader's own time. */
export function waitingText(story: Pick<Story, "phase" | "waiting_for" | "updated_at">): string {
  if (story.phase === "done") return t.story.doneAt(dateTime(story.updated_at));
  return story.waiting_for.replace(SERVER_TIME, (_match, day: string, time: string) => shortTime(`${day}T${time}:00Z`));
}
