import type { Approval } from "../api/types";

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
