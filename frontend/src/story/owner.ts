import type { Story } from "../api/types";
import { t } from "../i18n/en";

/** Who has the story now; a person who is asked may have no name yet: anyone with the role may answer. */
export function ownerName(story: Pick<Story, "owner">): string {
  const { kind, name } = story.owner;
  if (name) return name;
  return kind === "human" ? t.actor.kind("user") : kind === "agent" ? t.actor.kind("agent") : t.story.nobody;
}
