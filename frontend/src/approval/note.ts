import { useState } from "react";
import type { LineComment, Outcome } from "../api/types";

/**
 * The note of an answer that was not sent yet. It belongs to the question, not to the page: the inbox and the
 * detail page write the same one, and neither a reload nor a new version of the question loses it.
 */

const PREFIX = "syndarix-note:";

export function loadNote(approvalId: string): string {
  try {
    return sessionStorage.getItem(PREFIX + approvalId) ?? "";
  } catch {
    return "";
  }
}

export function saveNote(approvalId: string, note: string): void {
  try {
    if (note === "") sessionStorage.removeItem(PREFIX + approvalId);
    else sessionStorage.setItem(PREFIX + approvalId, note);
  } catch {
    // Without storage the note lives as long as the page.
  }
}

export function useNote(approvalId: string): [string, (note: string) => void] {
  const [note, setNote] = useState(() => loadNote(approvalId));
  const write = (next: string) => {
    setNote(next);
    saveNote(approvalId, next);
  };
  return [note, write];
}

/** An agent asks a person for knowledge: the note is the answer. */
export function isQuestion(action: string): boolean {
  return action === "human_input";
}

/** What an answer lacks that the server, or whoever reads it, needs; null when it can be sent. */
export function lacking(outcome: Outcome, answer: { action: string; note: string; comments: number }): "answer" | "reason" | "change" | null {
  const silent = answer.note.trim() === "";
  if (outcome === "changes_requested") return silent && answer.comments === 0 ? "change" : null;
  if (outcome === "rejected") return silent ? "reason" : null;
  return silent && isQuestion(answer.action) ? "answer" : null;
}

/** As text that can be pasted elsewhere. */
export function asText(note: string, comments: readonly LineComment[]): string {
  return [note.trim(), ...comments.map((comment) => `${comment.path}:${comment.line}${comment.side === "old" ? " (before)" : ""}\n${comment.body}`)].filter(Boolean).join("\n\n");
}
