import { clsx } from "clsx";
import { ChevronDown, Ellipsis } from "lucide-react";
import { useRef, useState } from "react";
import { useDecision } from "../api/actions";
import type { ApprovalDetail, LineComment } from "../api/types";
import { t } from "../i18n/en";
import { useShortcuts } from "../keyboard";
import { Button } from "../ui/button";
import { InlineError } from "../ui/feedback";
import type { EditedArguments } from "./arguments";
import { isQuestion, lacking } from "./note";

interface BarProps {
  approval: ApprovalDetail;
  note: string;
  onNote: (note: string) => void;
  comments: LineComment[];
  edited: EditedArguments;
  moved: boolean;
  onSent: () => void;
}

type Answer = "approved" | "changes_requested" | "rejected";

/** The answers. A key only brings the focus to its button, or to the words that the answer needs; Enter decides. */
export function DecisionBar({ approval, note, onNote, comments, edited, moved, onSent }: BarProps) {
  const question = isQuestion(approval.action);
  const [hint, setHint] = useState<string | null>(null);
  const [unfolded, setUnfolded] = useState(false);
  /** What the note is being written for: Ctrl+Enter in it sends that. */
  const [intent, setIntent] = useState<Answer>("approved");
  const area = useRef<HTMLTextAreaElement>(null);
  const buttons = { approved: useRef<HTMLButtonElement>(null), changes_requested: useRef<HTMLButtonElement>(null), rejected: useRef<HTMLButtonElement>(null) };
  const decision = useDecision(onSent);
  // After the answer, too: the page shows it at once, and until then nobody presses twice.
  const busy = decision.isPending || decision.isSuccess;
  const blocked = { approved: moved || edited.kind === "invalid" || Boolean(approval.diff_unavailable), changes_requested: moved, rejected: moved };
  const lacks = (outcome: Answer) => lacking(outcome, { action: approval.action, note, comments: comments.length });

  const write = (outcome: Answer, missing: "answer" | "reason" | "change" | null) => {
    setIntent(outcome);
    setUnfolded(true);
    setHint(missing ? t.approval.need[missing] : null);
    area.current?.focus();
    // On a phone the field comes on screen with this very press.
    requestAnimationFrame(() => area.current?.focus());
  };
  const send = (outcome: Answer) => {
    if (busy || blocked[outcome]) return;
    const missing = lacks(outcome);
    if (missing) return write(outcome, missing);
    setHint(null);
    const changed = outcome === "approved" && edited.kind === "changed";
    decision.mutate({ approval, outcome: changed ? "approved_with_changes" : outcome, note, comments, ...(changed ? { arguments: edited.value } : {}) });
  };
  const go = (outcome: Answer) => {
    const missing = lacks(outcome);
    if (missing) write(outcome, missing);
    else buttons[outcome].current?.focus();
  };
  const key = (keyName: string, label: string, run: () => void) => ({ keys: keyName, label, group: t.groups.approval, run });
  useShortcuts([
    key("a", question ? t.approval.sendAnswer : t.keys.approve, () => go("approved")),
    ...(question ? [] : [key("c", t.keys.changes, () => go("changes_requested"))]),
    key("d", t.keys.reject, () => go("rejected")),
    key("n", t.keys.comment, () => write("approved", null)),
  ]);

  const open = unfolded || question || note !== "";
  const folded = open ? "" : "max-md:hidden";
  const label = question ? t.approval.answer : t.approval.note;
  const size = "pointer-coarse:h-11";
  return (
    <section aria-label={t.approval.bar} className="sticky bottom-0 z-10 border-t border-line-strong bg-panel/95 px-4 py-2.5 shadow-[0_-4px_16px_rgb(0_0_0/0.08)] backdrop-blur md:px-6">
      <div className="mx-auto flex max-w-[75rem] flex-col gap-2 md:flex-row md:items-end">
        <div className={clsx("min-w-0 flex-1", decision.isError || comments.length > 0 ? "" : folded)}>
          {decision.isError ? <div className="mb-2"><InlineError error={decision.error} title={t.approval.notDecided} /></div> : null}
          <p role="status" className={clsx("text-xs", hint ? "mb-1 text-bad" : comments.length > 0 ? "mb-1 text-accent" : "sr-only")}>
            {hint ?? (comments.length > 0 ? t.approval.collected(comments.length) : "")}
          </p>
          {question ? <label htmlFor="decision-note" className="mb-1 block text-xs font-medium">{label}</label> : null}
          <textarea
            ref={area}
            id="decision-note"
            rows={1}
            aria-label={label}
            aria-required={question || undefined}
            placeholder={question ? t.approval.answerPlaceholder : intent === "approved" ? t.approval.notePlaceholder : t.approval.reasonPlaceholder}
            value={note}
            onChange={(event) => { onNote(event.target.value); setHint(null); }}
            onKeyDown={(event) => {
              if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); buttons[intent].current?.focus(); }
              if (event.key === "Escape") { setHint(null); area.current?.blur(); }
            }}
            className={clsx(folded, "field block max-h-40 min-h-9 [field-sizing:content] pointer-coarse:text-base")}
          />
        </div>
        {question ? null : <div className={clsx("flex gap-2 md:order-last", folded)}>
          <Button ref={buttons.changes_requested} size="md" className={clsx(size, "max-md:flex-1")} disabled={blocked.changes_requested} busy={busy} onClick={() => send("changes_requested")} hint="C">{t.approval.request}</Button>
          <Button ref={buttons.rejected} tone="danger" size="md" className={clsx(size, "max-md:flex-1")} disabled={blocked.rejected} busy={busy} onClick={() => send("rejected")} hint="D">{t.approval.reject}</Button>
        </div>}
        <div className="flex gap-2">
          <Button ref={buttons.approved} tone="ok" size="md" className={clsx(size, "max-md:flex-1")} disabled={blocked.approved} busy={busy} onClick={() => send("approved")} hint="A">
            {question ? t.approval.sendAnswer : edited.kind === "changed" ? t.approval.approveChanged : t.approval.approve}
          </Button>
          {question ? (
            <Button ref={buttons.rejected} tone="danger" size="md" className={size} disabled={blocked.rejected} busy={busy} onClick={() => send("rejected")} hint="D">{t.approval.reject}</Button>
          ) : (
            <Button size="md" className={clsx(size, "w-12 md:hidden!")} aria-expanded={open} aria-label={open ? t.approval.less : t.approval.more} onClick={() => { setUnfolded(!open); setHint(null); }}>
              {open ? <ChevronDown size={16} aria-hidden="true" /> : <Ellipsis size={16} aria-hidden="true" />}
            </Button>
          )}
        </div>
      </div>
    </section>
  );
}
