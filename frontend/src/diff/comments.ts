import type { ApprovalDetail, LineComment, LineRemark } from "../api/types";

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
  /** What is in the open editor: a draft from its first letter on. */
  | { type: "write"; path: string; side: "old" | "new"; line: number; body: string }
  | { type: "save"; path: string; side: "old" | "new"; line: number; body: string }
  | { type: "remove"; path: string; side: "old" | "new"; line: number }
  | { type: "clear" };

/** A remark that was made: in this answer, or in an earlier round. */
export interface Remark {
  path: string | null;
  line: number | null;
  side: "old" | "new";
  body: string;
  /** Who made it earlier; what belongs to this answer has no name. */
  by?: string;
  at?: string;
}

export interface PlacedRemark extends Remark {
  path: string;
  line: number;
}

/** What was said about this change: with this answer, and in the rounds before the question was asked. */
export function remarksOf(approval: ApprovalDetail): Remark[] {
  const own = approval.comments.map((remark: LineRemark) => ({ path: remark.path, line: remark.line ?? null, side: remark.side ?? ("new" as const), body: remark.body }));
  const before = (at: string) => approval.state === "pending" || Date.parse(at) < Date.parse(approval.requested_at);
  const earlier = (approval.pull_request?.comments ?? [])
    .filter((remark) => before(remark.at))
    .map((remark) => ({ path: remark.path ?? null, line: remark.line ?? null, side: remark.side === "old" ? ("old" as const) : ("new" as const), body: remark.body, by: remark.author.name, at: remark.at }));
  return [...earlier, ...own];
}

/** Those that have a place in the diff, and those that are shown above it. */
export function placed(remarks: Remark[], paths: readonly string[]): { inDiff: PlacedRemark[]; general: Remark[] } {
  const has = (remark: Remark): remark is PlacedRemark => remark.path !== null && remark.line !== null && paths.includes(remark.path);
  return { inDiff: remarks.filter(has), general: remarks.filter((remark) => !has(remark)) };
}

type Place = { path: string; side: "old" | "new"; line: number };

export function samePlace(a: Place, b: Place): boolean {
  return a.path === b.path && a.side === b.side && a.line === b.line;
}

/** In the order of the files, then of the lines: the order in which the agent reads them. */
function ordered(comments: LineComment[]): LineComment[] {
  return comments.toSorted((a, b) => a.path.localeCompare(b.path) || a.line - b.line || a.side.localeCompare(b.side));
}

/** One comment per line; an empty one is none. */
function withComment(comments: LineComment[], { path, side, line, body }: LineComment): LineComment[] {
  const others = comments.filter((comment) => !samePlace(comment, { path, side, line }));
  return body.trim() ? ordered([...others, { path, side, line, body: body.trim() }]) : others;
}

export function review(state: ReviewState, action: ReviewAction): ReviewState {
  switch (action.type) {
    case "open":
      return { ...state, editing: { path: action.path, side: action.side, line: action.line } };
    case "close":
      return { ...state, editing: null };
    case "write": {
      const known = state.comments.find((comment) => samePlace(comment, action))?.body ?? "";
      return known === action.body.trim() ? state : { ...state, comments: withComment(state.comments, action) };
    }
    case "save":
      return { comments: withComment(state.comments, action), editing: null };
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

/** Comments that were written on other versions of what is asked, or, without a digest, on any. */
export function unsentComments(approvalId: string, shownDigest?: string): LineComment[] {
  return storedDigests(approvalId).filter((digest) => digest !== shownDigest).flatMap((digest) => loadDraft(approvalId, digest).comments);
}

export function discardUnsent(approvalId: string, shownDigest?: string): void {
  for (const digest of storedDigests(approvalId)) if (digest !== shownDigest) saveDraft(approvalId, digest, []);
}

function storedDigests(approvalId: string): string[] {
  const prefix = `${PREFIX}${approvalId}:`;
  try {
    return Array.from({ length: sessionStorage.length }, (_, index) => sessionStorage.key(index) ?? "").filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
  } catch {
    return [];
  }
}
