import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState, type Ref } from "react";
import { acceptDecision, isAnswer, sendDecision } from "../api/actions";
import { keys } from "../api/keys";
import type { Approval } from "../api/types";
import { t } from "../i18n/en";
import { StableKey } from "../stableKey";
import { Button } from "../ui/button";
import { toast, toastError } from "../ui/toast";
import { bulkSplit } from "./selection";

export interface Bulk {
  run: (items: Approval[], note: string) => Promise<void>;
  progress: { done: number; all: number } | null;
}

/** Decides one by one, so that every item has its own entry and its own refusal. `onDone` gets those that could not be decided. */
export function useBulkApprove(onDone: (failed: Approval[]) => void): Bulk {
  const client = useQueryClient();
  const [progress, setProgress] = useState<{ done: number; all: number } | null>(null);
  const running = useRef(false);
  const stable = useRef(new Map<string, StableKey>());
  const decide = async (approval: Approval, note: string) => {
    const key = stable.current.get(approval.id) ?? new StableKey();
    stable.current.set(approval.id, key);
    const input = { approval, outcome: "approved" as const, note };
    try {
      acceptDecision(client, await sendDecision(input, key.for(input)));
      key.done();
    } catch (error) {
      if (isAnswer(error)) key.done();
      throw error;
    }
  };
  const run = async (items: Approval[], note: string) => {
    const { allowed, refused } = bulkSplit(items);
    if (running.current) return;
    if (refused.length > 0) toast(t.inbox.bulkRefused(refused.length), { tone: "bad", detail: refused.map((item) => item.title).join(" · ") });
    if (allowed.length === 0) return;
    running.current = true;
    const failed: Approval[] = [];
    let lastError: unknown = null;
    for (const [index, approval] of allowed.entries()) {
      setProgress({ done: index, all: allowed.length });
      try {
        await decide(approval, note);
      } catch (error) {
        failed.push(approval);
        lastError = error;
      }
    }
    running.current = false;
    setProgress(null);
    onDone(failed);
    void client.invalidateQueries({ queryKey: keys.approvals() });
    if (allowed.length > failed.length) toast(t.inbox.bulkDone(allowed.length - failed.length));
    if (failed.length > 0) toastError(lastError, t.inbox.bulkFailed(failed.length));
  };
  return { run, progress };
}

export function BulkBar({ selected, matching: all, note, onNote, progress, approve, onAll, onClear, onApprove }: {
  selected: Approval[];
  matching: Approval[];
  note: string;
  onNote: (note: string) => void;
  progress: Bulk["progress"];
  approve: Ref<HTMLButtonElement>;
  onAll: () => void;
  onClear: () => void;
  onApprove: () => void;
}) {
  return (
    <div role="region" aria-label={t.inbox.selected(selected.length)} className="flex flex-wrap items-center gap-2 border-b border-line bg-accent-wash px-4 py-2">
      <span className="font-medium text-accent">{t.inbox.selected(selected.length)}</span>
      {selected.length < all.length ? <Button tone="ghost" onClick={onAll}>{t.inbox.selectMatching(all.length)}</Button> : null}
      <Button tone="ghost" onClick={onClear}>{t.inbox.clearSelection}</Button>
      <input aria-label={t.inbox.bulkReason} placeholder={t.inbox.bulkReason} value={note} onChange={(event) => onNote(event.target.value)} className="field h-7 min-w-40 flex-1 pointer-coarse:h-10 pointer-coarse:text-base" />
      <Button ref={approve} tone="ok" className="pointer-coarse:h-10" title={t.inbox.bulkKey} busy={progress !== null} onClick={onApprove} hint="⇧A">{t.inbox.approveSelected(selected.length)}</Button>
      {progress ? <span role="status" className="text-soft">{t.inbox.bulkProgress(progress.done, progress.all)}</span> : null}
    </div>
  );
}
