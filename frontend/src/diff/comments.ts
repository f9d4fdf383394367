import type { LineComment, LineRemark } from "../api/types";

/**
 * Line comments of one review. They are collected here and leave together with the decision, so a
 * half-written review never reaches the agent. Drafts outlive a reload (this tab only), bound to
 * the digest of what was shown: comments on other content are never carried over.
 */

export interface ReviewState {
  comments: LineComment[];
  /** The line whose editor is open. */
  editing: { path: string; side: "old" | "new"; line: number } | null;
}

export type ReviewAction =
  | { type: "open"; path: string; side: "old" | "new"; line: number }
  | { type: "close" }
  | { type: "save"; path: string; side: "old" | "new"; line: number; body: string }
  | { type: "remove"; path: string; side: "old" | "new"; line: number }
  | { type: "clear" };

/** A remark that can be shown beside its line; one on the whole file cannot. */
export function onLine(remark: LineRemark): LineComment[] {
  return remark.line ? [{ path: remark.path, line: remark.line, side: remark.side ?? "new", body: remark.body }] : [];
}

type Place = { path: string; side: "old" | "new"; line: number };

export function samePlace(a: Place, b: Place): boolean {
  return a.path === b.path && a.side === b.side && a.line === b.line;
}

/** In the order of the files, then of the lines: the order in which the agent reads them. */
function ordered(comments: LineComment[]): LineComment[] {
  return comments.toSorted((a, b) => a.path.localeCompare(b.path) || a.line - b.line || a.side.localeCompare(b.side));
}

export function review(state: ReviewState, action: ReviewAction): ReviewState {
  switch (action.type) {
    case "open":
      return { ...state, editing: { path: action.path, side: action.side, line: action.line } };
    case "close":
      return { ...state, editing: null };
    case "save": {
      const others = state.comments.filter((comment) => !samePlace(comment, action));
      const body = action.body.trim();
      const { path, side, line } = action;
      return { comments: body ? ordered([...others, { path, side, line, body }]) : others, editing: null };
    }
    case "remove":
      return { ...state, comments: state.comments.filter((comment) => !samePlace(comment, action)) };
    case "clear":
      return { comments: [], editing: null };
  }
}

const PREFIX = "syndarix-review:";

function isComment(value: unknown): value is LineComment {
  if (typeof value !== "object" || value === null) return false;
  const { path, side, line, body } = value as Record<string, unknown>;
  return typeof path === "string" && (side === "old" || side === "new") && typeof line === "number" && typeof body === "string";
}

export function loadDraft(approvalId: string, digest: string): ReviewState {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(`${PREFIX}${approvalId}:${digest}`) ?? "[]");
    return { comments: Array.isArray(stored) ? stored.filter(isComment) : [], editing: null };
  } catch {
    return { comments: [], editing: null };
  }
}

export function saveDraft(approvalId: string, digest: string, comments: LineComment[]): void {
  try {
    const key = `${PREFIX}${approvalId}:${digest}`;
    if (comments.length === 0) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify(comments));
  } catch {
    // Without storage the draft lives as long as the page.
  }
}
