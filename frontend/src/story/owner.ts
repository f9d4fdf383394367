import type { Story } from "../api/types";
import { dateTime } from "../format";
import { t } from "../i18n/en";

/** Who has the story now; a person who is asked may have no name yet: anyone with the role may answer. */
export function ownerName(story: Pick<Story, "owner">): string {
  const { kind, name } = story.owner;
  if (name) return name;
  return kind === "human" ? t.actor.kind("user") : kind === "agent" ? t.actor.kind("agent") : t.story.nobody;
}

/** What it waits for, as the server says it; since when it is done, in the reader's own time. */
export function waitingText(story: Pick<Story, "phase" | "waiting_for" | "updated_at">): string {
  return story.phase === "done" ? t.story.doneAt(dateTime(story.updated_at)) : story.waiting_for;
}
