import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { useEffect, useRef } from "react";
import * as queries from "../api/queries";
import type { Approval, Outcome } from "../api/types";
import { isQuestion, lacking, useNote } from "../approval/note";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Delta } from "../ui/delta";
import { ActorName, Confidence, Cost } from "../ui/entity";
import { Notice } from "../ui/feedback";
import { Badge, Status, labelOf, toneOf } from "../ui/status";
import { Ago, Deadline } from "../ui/time";

export interface RowProps {
  item: Approval;
  threshold: number | undefined;
  current: boolean;
  /** The one row that Tab reaches; J and K move it. */
  reachable: boolean;
  /** Its change may be read, to say how large it is. */
  sized: boolean;
  selected: boolean;
  /** The answer being written for this row, if any. */
  answering: Outcome | null;
  /** It is no question any more; only what is being written keeps it here. */
  gone: boolean;
  busy: boolean;
  mayDecide: boolean;
  onFocus: () => void;
  onSelect: () => void;
  onAnswer: (outcome: Outcome | null) => void;
  onSend: (outcome: Outcome, note: string) => void;
}

export function ApprovalRow({ item, threshold, current, reachable, sized, selected, answering, gone, busy, mayDecide, onFocus, onSelect, onAnswer, onSend }: RowProps) {
  const root = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (current) root.current?.scrollIntoView({ block: "nearest" });
  }, [current]);
  const pending = item.state === "pending";
  const open = pending && mayDecide;
  const tabIndex = reachable ? 0 : -1;
  return (
    <li ref={root} data-approval={item.id} data-current={current || undefined} aria-current={current || undefined}
      onFocus={onFocus}
      className={clsx("relative border-b border-line px-4 py-2.5 last:border-b-0", current ? "bg-hover" : "hover:bg-hover", selected && "bg-accent-wash/60")}>
      {current ? <span aria-hidden="true" className="absolute inset-y-0 left-0 w-0.5 bg-accent-fill" /> : null}
      <div className="flex gap-3">
        {open ? <input type="checkbox" tabIndex={tabIndex} checked={selected} onChange={onSelect} aria-label={t.inbox.select(item.title)} className="mt-0.5 size-4 shrink-0 accent-[var(--c-accent-fill)] pointer-coarse:size-5" /> : null}
        <div className="min-w-0 flex-1">
          <div className="flex items-start gap-2">
            <Badge tone={toneOf(item.lane)}>{labelOf(item.lane)}</Badge>
            {item.category !== item.lane ? <Badge tone={toneOf(item.category)} className="max-md:hidden">{labelOf(item.category)}</Badge> : null}
            <Link to="/projects/$projectId/approvals/$approvalId" params={{ projectId: item.project_id, approvalId: item.id }} tabIndex={tabIndex} title={item.title} className="line-clamp-2 min-w-0 font-medium hover:underline md:line-clamp-1">
              {item.title}
            </Link>
            {pending ? null : <Status value={item.state} />}
          </div>
          <p className="mt-0.5 line-clamp-2 text-soft md:line-clamp-1">{item.summary}</p>
          <p className="mt-1 flex flex-wrap items-center gap-x-3 gap-y-0.5 text-xs text-soft">
            <span>{item.project_name}</span>
            <ActorName actor={item.requested_by} />
            <Ago at={item.requested_at} />
            {pending && item.expires_at ? <Deadline at={item.expires_at} /> : null}
            {pending && item.pull_request_id ? <MergeSize item={item} read={sized} /> : null}
            <Cost real={item.cost_micro_usd} simulated={item.simulated_micro_usd} />
            {item.confidence !== null && item.confidence !== undefined ? <Confidence value={item.confidence} threshold={threshold} /> : null}
          </p>
        </div>
        {open ? <div className="hidden shrink-0 items-start gap-1.5 md:flex"><Answers item={item} tabIndex={tabIndex} onAnswer={onAnswer} /></div> : null}
      </div>
      {open && answering === null ? <div className="mt-2.5 flex gap-1.5 md:hidden"><Answers item={item} tabIndex={tabIndex} onAnswer={onAnswer} /></div> : null}
      {open && answering !== null ? <Answer key={answering} item={item} outcome={answering} gone={gone} busy={busy} onCancel={() => onAnswer(null)} onSend={onSend} /> : null}
    </li>
  );
}

/** The page of the approval has the change; here it is only counted, and that page opens at once. */
function MergeSize({ item, read }: { item: Approval; read: boolean }) {
  const detail = useQuery({ ...queries.approval(item.project_id, item.id), enabled: read, staleTime: Number.POSITIVE_INFINITY });
  const diff = detail.data?.diff;
  return diff ? <Delta additions={diff.additions} deletions={diff.deletions} /> : null;
}

function Answers({ item, tabIndex, onAnswer }: { item: Approval; tabIndex: number; onAnswer: (outcome: Outcome) => void }) {
  const question = isQuestion(item.action);
  const size = "pointer-coarse:h-10 max-md:flex-1";
  return (
    <>
      <Button tabIndex={tabIndex} className={clsx("border-ok/40! bg-ok-wash! text-ok! hover:border-ok!", size)} onClick={() => onAnswer("approved")}>{question ? t.approval.answer : t.approval.approve}</Button>
      {question ? null : <Button tabIndex={tabIndex} className={size} onClick={() => onAnswer("changes_requested")}>{t.approval.request}</Button>}
      <Button tabIndex={tabIndex} tone="danger" className={size} onClick={() => onAnswer("rejected")}>{t.approval.reject}</Button>
    </>
  );
}

/** The second step: a note, and one clear button. It stays until the server has taken the answer. */
function Answer({ item, outcome, gone, busy, onCancel, onSend }: { item: Approval; outcome: Outcome; gone: boolean; busy: boolean; onCancel: () => void; onSend: (outcome: Outcome, note: string) => void }) {
  const [note, setNote] = useNote(item.id);
  const send = useRef<HTMLButtonElement>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const question = isQuestion(item.action);
  const free = outcome === "approved" && !question;
  const blocked = gone || busy || lacking(outcome, { action: item.action, note, comments: 0 }) !== null;
  useEffect(() => {
    // Approving needs no words: Enter confirms. The other answers begin with them.
    if (free) send.current?.focus();
    else area.current?.focus();
  }, [free]);
  const label = outcome === "approved" ? (question ? t.approval.sendAnswer : t.approval.approve) : outcome === "rejected" ? t.approval.reject : t.approval.request;
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
      {gone ? <Notice tone="warn">{t.inbox.gone}</Notice> : null}
      {question ? <p className="whitespace-pre-wrap">{item.summary}</p> : null}
      <p className="text-soft"><span className="font-medium text-ink">{label}:</span> {consequence}</p>
      <textarea ref={area} required={!free} aria-label={question && outcome === "approved" ? t.approval.answer : t.approval.note} value={note} onChange={(event) => setNote(event.target.value)} placeholder={free ? t.approval.noteOptional : question && outcome === "approved" ? t.approval.answerPlaceholder : t.approval.reasonPlaceholder} className="field min-h-15 pointer-coarse:text-base" />
      <div className="flex items-center gap-2">
        <Button ref={send} type="submit" className="pointer-coarse:h-10" tone={outcome === "approved" ? "ok" : outcome === "rejected" ? "danger" : "primary"} busy={busy} disabled={blocked} hint={free ? "↵" : "Ctrl ↵"}>{label}</Button>
        <Button tone="ghost" className="pointer-coarse:h-10" onClick={onCancel} hint="Esc">{t.common.cancel}</Button>
      </div>
    </form>
  );
}
