import type { Run } from "../api/types";
import { t } from "../i18n/en";

/** What a parked run waits for, as a sentence. */
export function waitingSentence(waiting: NonNullable<Run["waiting"]>): string {
  const { on, detail } = waiting;
  if (on === "approval" || on === "human" || on === "unknown_outcome") return t.story.waitsFor(detail);
  return detail.charAt(0).toUpperCase() + detail.slice(1);
}
