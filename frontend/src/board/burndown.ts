import type { Sprint, Story } from "../api/types";

/** How much of a sprint was left at the end of each day, in points; a story is burnt when it is done. */

const DAY_MS = 86_400_000;
/** A sprint longer than this is drawn to its beginning only. */
const MAX_DAYS = 90;

export interface BurnDown {
  total: number;
  days: number;
  /** What is left after day 0, 1, 2 … up to today. */
  left: number[];
}

export function burnDown(sprint: Pick<Sprint, "id" | "starts_on" | "ends_on">, stories: Pick<Story, "sprint_id" | "phase" | "points" | "updated_at">[], now: number): BurnDown | null {
  if (!sprint.starts_on || !sprint.ends_on) return null;
  const start = Date.parse(`${sprint.starts_on}T00:00:00Z`);
  const days = Math.round((Date.parse(`${sprint.ends_on}T00:00:00Z`) - start) / DAY_MS) + 1;
  const mine = stories.filter((story) => story.sprint_id === sprint.id && story.phase !== "cancelled");
  const total = mine.reduce((sum, story) => sum + (story.points ?? 0), 0);
  if (total === 0 || days < 1 || days > MAX_DAYS || now < start) return null;
  const today = Math.min(days - 1, Math.floor((now - start) / DAY_MS));
  const left = Array.from({ length: today + 1 }, (_, day) => {
    const end = start + (day + 1) * DAY_MS;
    const burnt = mine.filter((story) => story.phase === "done" && Date.parse(story.updated_at) < end);
    return total - burnt.reduce((sum, story) => sum + (story.points ?? 0), 0);
  });
  return { total, days, left };
}
