import type { Sprint, Story } from "../api/types";

/** The board as data: which column a story stands in, how the cursor moves, what a move means. */

export const COLUMNS = ["waiting", "analysis", "design", "implementation", "review", "testing", "done"] as const;
export type Column = (typeof COLUMNS)[number];

/** A blocked story stays in the column it was blocked in; a cancelled one leaves the board. */
export function columnOf(story: Story): Column | null {
  if (story.phase === "cancelled") return null;
  if (!story.started) return "waiting";
  return story.phase === "blocked" ? (story.blocked_from ?? "analysis") : story.phase;
}

export function columnsOf(stories: Story[]): Record<Column, Story[]> {
  const columns = Object.fromEntries(COLUMNS.map((column) => [column, [] as Story[]])) as Record<Column, Story[]>;
  for (const story of stories.toSorted((a, b) => a.number - b.number)) {
    const column = columnOf(story);
    if (column) columns[column].push(story);
  }
  return columns;
}

export type Direction = "up" | "down" | "left" | "right";

/** Moves the cursor; sideways it skips empty columns and keeps the row as near as it can. */
export function step(columns: Record<Column, Story[]>, current: string | null, direction: Direction): string | null {
  const at = COLUMNS.findIndex((column) => columns[column].some((story) => story.id === current));
  if (at < 0) {
    const first = COLUMNS.find((column) => columns[column].length > 0);
    return first ? (columns[first][0]?.id ?? null) : null;
  }
  const list = columns[COLUMNS[at] ?? "waiting"];
  const row = list.findIndex((story) => story.id === current);
  if (direction === "up" || direction === "down") {
    const next = Math.min(list.length - 1, Math.max(0, row + (direction === "down" ? 1 : -1)));
    return list[next]?.id ?? current;
  }
  const by = direction === "right" ? 1 : -1;
  for (let column = at + by; column >= 0 && column < COLUMNS.length; column += by) {
    const next = columns[COLUMNS[column] ?? "waiting"];
    if (next.length > 0) return next[Math.min(row, next.length - 1)]?.id ?? current;
  }
  return current;
}

/** The same on a list, where what is seen is what is moved over: from nowhere to an end. */
export function stepList(stories: Story[], current: string | null, by: 1 | -1): string | null {
  const at = stories.findIndex((story) => story.id === current);
  const next = at < 0 ? (by > 0 ? 0 : stories.length - 1) : Math.min(stories.length - 1, Math.max(0, at + by));
  return stories[next]?.id ?? null;
}

export type Move = { kind: "command"; name: "start" | "unblock" } | { kind: "refused"; guard: string } | { kind: "none" };

/**
 * Phases are moved by work, not by hand: only starting and unblocking are commands. Every other
 * move is refused by the guard of its target, which the toast names.
 */
export function moveTo(story: Story, target: Column): Move {
  const from = columnOf(story);
  if (from === null || from === target) return { kind: "none" };
  if (COLUMNS.indexOf(target) < COLUMNS.indexOf(from)) return { kind: "refused", guard: "back" };
  if (!story.started) return target === "analysis" ? { kind: "command", name: "start" } : { kind: "refused", guard: target };
  return { kind: "refused", guard: target };
}

export function neighbour(column: Column, by: 1 | -1): Column | null {
  return COLUMNS[COLUMNS.indexOf(column) + by] ?? null;
}

/** Whether a person has to do something before it goes on. */
export function needsPerson(story: Pick<Story, "approval_id" | "owner" | "phase">): boolean {
  return Boolean(story.approval_id) || (story.owner.kind === "human" && story.phase !== "done" && story.phase !== "cancelled");
}

/** A sprint that stories may still be put into. */
export function isOpen(sprint: Pick<Sprint, "state">): boolean {
  return sprint.state === "planning" || sprint.state === "active";
}

export interface StoryFilter {
  sprint?: string | undefined;
  phase?: string | undefined;
  q?: string | undefined;
}

export function filterStories(stories: Story[], filter: StoryFilter): Story[] {
  const q = filter.q?.trim().toLowerCase();
  return stories.filter(
    (story) =>
      (!filter.sprint || (filter.sprint === "backlog" ? story.sprint_id === null : story.sprint_id === filter.sprint)) &&
      (!filter.phase || story.phase === filter.phase) &&
      (!q || story.title.toLowerCase().includes(q) || `#${story.number}` === q),
  );
}
