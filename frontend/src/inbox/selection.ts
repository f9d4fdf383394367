import type { Approval, Project } from "../api/types";

/** Filters, order and bulk rules of the inbox, as pure functions. */

export interface InboxFilter {
  lane?: string | undefined;
  category?: string | undefined;
  project?: string | undefined;
}

const LANE_RANK: Record<string, number> = { critical: 0, milestone: 1, routine: 2 };

/** Critical first, then by deadline, then the oldest request. */
export function inOrder(items: Approval[]): Approval[] {
  const due = (item: Approval) => (item.expires_at ? Date.parse(item.expires_at) : Number.MAX_SAFE_INTEGER);
  return items.toSorted(
    (a, b) =>
      (LANE_RANK[a.lane] ?? 3) - (LANE_RANK[b.lane] ?? 3) ||
      due(a) - due(b) ||
      Date.parse(a.requested_at) - Date.parse(b.requested_at),
  );
}

export function matching(items: Approval[], filter: InboxFilter): Approval[] {
  return items.filter(
    (item) =>
      (!filter.lane || item.lane === filter.lane) &&
      (!filter.category || item.category === filter.category) &&
      (!filter.project || item.project_id === filter.project),
  );
}

/** Only low-risk items are decided in bulk; the server checks the same. */
export function bulkSplit(items: Approval[]): { allowed: Approval[]; refused: Approval[] } {
  const low = (item: Approval) => item.lane === "routine" && item.category === "routine";
  return { allowed: items.filter(low), refused: items.filter((item) => !low(item)) };
}

export function toggled(selection: ReadonlySet<string>, id: string): Set<string> {
  const next = new Set(selection);
  if (!next.delete(id)) next.add(id);
  return next;
}

export function moved(ids: string[], current: string | null, step: 1 | -1): string | null {
  if (ids.length === 0) return null;
  const index = current === null ? -1 : ids.indexOf(current);
  if (index < 0) return ids[step === 1 ? 0 : ids.length - 1] ?? null;
  return ids[Math.min(ids.length - 1, Math.max(0, index + step))] ?? null;
}

/** The list, with the item whose answer is being written although it is in the list no more. */
export function withAnswered(items: Approval[], answered: Approval | null): Approval[] {
  if (answered === null) return items;
  const known = items.find((item) => item.id === answered.id);
  if (known?.state === "pending") return items;
  // As it was asked: the form belongs to the question that was open.
  return [...items.filter((item) => item.id !== answered.id), answered];
}

/** Those where most goes on, in the order in which they came. */
export function busiest(projects: Project[], most: number): Project[] {
  if (projects.length <= most) return projects;
  const weight = ({ counts }: Project) => counts.approvals_pending + counts.stories_open + counts.agents;
  const kept = new Set(projects.toSorted((a, b) => weight(b) - weight(a)).slice(0, most));
  return projects.filter((project) => kept.has(project));
}
