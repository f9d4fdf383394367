import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { useEffect, useRef, useState } from "react";
import type { Approval, Outcome } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { ActorName, Confidence, Cost } from "../ui/entity";
import { Badge, Status, labelOf, toneOf } from "../ui/status";
import { Ago, Deadline } from "../ui/time";

export interface RowProps {
  item: Approval;
  current: boolean;
  selected: boolean;
  /** The answer being written for this row, if any. */
  answering: Outcome | null;
  busy: boolean;
  mayDecide: boolean;
  onFocus: () => void;
  onSelect: () => void;
  onAnswer: (outcome: Outcome | null) => void;
  onSend: (outcome: Outcome, note: string) => void;
}

export function ApprovalRow({ item, current, selected, answering, busy, mayDecide, onFocus, onSelect, onAnswer, onSend }: RowProps) {
  const root = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (current) root.current?.scrollIntoView({ block: "nearest" });
  }, [current]);
  const pending = item.state === "pending";
  const open = pending && mayDecide;
  return (
    <li ref={root} data-approval={item.id} data-current={current || undefined} aria-current={current || undefined}
      onFocus={onFocus}
      className={clsx("group relative border-b border-line px-4 py-3 last:border-b-0 md:px-5", current ? "bg-hover" : "hover:bg-hover", selected && "bg-accent-wash/60")}>
      {current ? <span aria-hidden="true" className="absolute inset-y-0 left-0 w-0.5 bg-accent-fill" /> : null}
      <div className="flex gap-3">
        {open ? <input type="checkbox" checked={selected} onChange={onSelect} aria-label={t.inbox.select(item.title)} className="mt-0.5 size-4 shrink-0 accent-[var(--c-accent-fill)]" /> : null}
        <div className="min-w-0 flex-1">
          <div className="flex flex-wrap items-center gap-x-2 gap-y-1">
            <Badge tone={toneOf(item.lane)}>{labelOf(item.lane)}</Badge>
            {item.category !== item.lane ? <Badge tone={toneOf(item.category)}>{labelOf(item.category)}</Badge> : null}
            <Link to="/projects/$projectId/approvals/$approvalId" params={{ projectId: item.project_id, approvalId: item.id }} className="min-w-0 text-[13.5px] font-medium hover:underline">
              {item.title}
            </Link>
            {pending ? null : <Status value={item.state} />}
          </div>
          <p className="mt-0.5 line-clamp-2 text-soft md:line-clamp-1">{item.summary}</p>
          <p className="mt-1 flex flex-wrap items-center gap-x-3 gap-y-0.5 text-[12px] text-soft">
            <span>{item.project_name}</span>
            <ActorName actor={item.requested_by} />
            <Ago at={item.requested_at} />
            {pending && item.expires_at ? <Deadline at={item.expires_at} /> : null}
            <Cost real={item.cost_micro_usd} simulated={item.simulated_micro_usd} />
            {item.confidence !== null && item.confidence !== undefined ? <Confidence value={item.confidence} /> : null}
          </p>
        </div>
        {open ? (
          <div className={clsx("hidden shrink-0 items-start gap-1.5 md:flex", !current && "[&_kbd]:invisible")}>
            <Answers onAnswer={onAnswer} />
          </div>
        ) : null}
      </div>
      {open && answering === null ? (
        <div className="mt-2.5 grid grid-cols-[1fr_1.4fr_1fr] gap-1.5 pl-7 md:hidden">
          <Answers onAnswer={onAnswer} />
        </div>
      ) : null}
      {open && answering !== null ? <Answer item={item} outcome={answering} busy={busy} onCancel={() => onAnswer(null)} onSend={onSend} /> : null}
    </li>
  );
}

/** The keys keep their room where they are not shown: a row must not move under the pointer that presses it. */
function Answers({ onAnswer }: { onAnswer: (outcome: Outcome) => void }) {
  return (
    <>
      <Button onClick={() => onAnswer("approved")} hint="A">{t.approval.approve}</Button>
      <Button onClick={() => onAnswer("changes_requested")} hint="C">{t.approval.request}</Button>
      <Button tone="danger" onClick={() => onAnswer("rejected")} hint="D">{t.approval.reject}</Button>
    </>
  );
}

/** The second step: a note, and one clear button. Nothing is decided by a single stray key. */
function Answer({ item, outcome, busy, onCancel, onSend }: { item: Approval; outcome: Outcome; busy: boolean; onCancel: () => void; onSend: (outcome: Outcome, note: string) => void }) {
  const [note, setNote] = useState("");
  const send = useRef<HTMLButtonElement>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const needsReason = outcome === "changes_requested";
  const blocked = needsReason && note.trim() === "";
  useEffect(() => {
    // Approving needs no words: Enter confirms. The other answers begin with the reason.
    if (outcome === "approved") send.current?.focus();
    else area.current?.focus();
  }, [outcome]);
  const label = outcome === "approved" ? t.approval.approve : outcome === "rejected" ? t.approval.reject : t.approval.request;
  const consequence = outcome === "approved" ? item.consequences.approve : outcome === "rejected" ? item.consequences.reject : item.consequences.request_changes;
  return (
    <form
      className="mt-2.5 flex flex-col gap-2 rounded-lg border border-line bg-panel p-3 md:ml-7"
      onSubmit={(event) => { event.preventDefault(); if (!blocked) onSend(outcome, note); }}
      onKeyDown={(event) => {
        if (event.key === "Escape") onCancel();
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !blocked) { event.preventDefault(); onSend(outcome, note); }
      }}
    >
      <p className="text-soft"><span className="font-medium text-ink">{label}:</span> {consequence}</p>
      <textarea ref={area} aria-label={t.approval.note} value={note} onChange={(event) => setNote(event.target.value)} placeholder={outcome === "approved" ? t.approval.notePlaceholder : t.approval.reasonPlaceholder} className="field min-h-15" />
      <div className="flex items-center gap-2">
        <Button ref={send} type="submit" tone={outcome === "approved" ? "ok" : outcome === "rejected" ? "danger" : "primary"} busy={busy} disabled={blocked} hint={outcome === "approved" ? "↵" : "Ctrl ↵"}>{label}</Button>
        <Button tone="ghost" onClick={onCancel} hint="Esc">{t.common.cancel}</Button>
      </div>
    </form>
  );
}
