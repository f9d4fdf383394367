import { useQuery } from "@tanstack/react-query";
import { Link, Navigate, useParams } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Check, CircleCheck, CircleSlash, MessageSquareDiff, RotateCcw, X } from "lucide-react";
import { lazy, Suspense, useEffect, useMemo, useReducer, useRef, useState, type ReactNode } from "react";
import { useDecision } from "../api/actions";
import * as queries from "../api/queries";
import type { ApprovalDetail, Json, Outcome } from "../api/types";
import { argumentsOf } from "../approval/arguments";
import { PayloadView } from "../approval/PayloadView";
import { loadDraft, onLine, review, saveDraft, type ReviewState } from "../diff/comments";
import { dateTime, money, shortHash } from "../format";
import { t } from "../i18n/en";
import { useShortcuts } from "../keyboard";
import { Missing } from "../shell/fallbacks";
import { can } from "../shell/project";
import { Button, buttonClass } from "../ui/button";
import { ActorName, BudgetBar, Confidence, Cost, Json as JsonView } from "../ui/entity";
import { InlineError, Loaded, Notice, SkeletonRows } from "../ui/feedback";
import { Prose } from "../ui/prose";
import { Badge, Status, labelOf, toneOf } from "../ui/status";
import { Ago, Deadline } from "../ui/time";
import { ApiError } from "../api/client";

const DiffViewer = lazy(() => import("../diff/DiffViewer"));

/** A link that names only the approval (from an e-mail) finds its project here. */
export function ApprovalLinkPage() {
  const { approvalId } = useParams({ from: "/app/approvals/$approvalId" });
  const all = useQuery(queries.approvals("all"));
  const found = all.data?.items.find((item) => item.id === approvalId);
  if (found) return <Navigate to="/projects/$projectId/approvals/$approvalId" params={{ projectId: found.project_id, approvalId }} replace />;
  return <Loaded query={all}>{() => <Missing />}</Loaded>;
}

export function ApprovalPage() {
  const { projectId, approvalId } = useParams({ from: "/app/projects/$projectId/approvals/$approvalId" });
  const query = useQuery(queries.approval(projectId, approvalId));
  if (query.error instanceof ApiError && query.error.status === 404) return <Missing />;
  return (
    <Loaded query={query} skeleton={<SkeletonRows rows={10} className="mx-auto max-w-5xl p-5" />}>
      {(data) => <Shown key={approvalId} newest={data} />}
    </Loaded>
  );
}

/**
 * What is on screen stays the version that was opened: a decision is bound to its digest. When the
 * question moves on, the page says so and shows the new version on request.
 */
function Shown({ newest }: { newest: ApprovalDetail }) {
  const [opened, setOpened] = useState(newest);
  const moved = newest.state === "pending" && newest.digest !== opened.digest;
  const shown = moved ? opened : newest;
  return <Detail key={shown.digest} approval={shown} moved={moved} onShowNew={() => setOpened(newest)} />;
}

function Detail({ approval, moved, onShowNew }: { approval: ApprovalDetail; moved: boolean; onShowNew: () => void }) {
  const project = useQuery(queries.project(approval.project_id));
  const [state, dispatch] = useReducer(review, undefined, () => loadDraft(approval.id, approval.digest));
  const [argumentText, setArgumentText] = useState<string | null>(null);
  const edited = argumentsOf(argumentText, approval.arguments);
  const pending = approval.state === "pending";
  useEffect(() => saveDraft(approval.id, approval.digest, pending ? state.comments : []), [approval.id, approval.digest, pending, state.comments]);
  const reviewing = useMemo(() => ({ state, dispatch }), [state]);
  const mayDecide = can(project.data?.role, "decide");
  const diff = approval.diff;
  return (
    <div className="flex min-h-full flex-col">
      <div className="mx-auto w-full max-w-7xl flex-1 px-3 pt-4 pb-6 md:px-6">
        <Header approval={approval} />
        {moved ? <div className="mt-3"><Notice tone="warn" action={<Button onClick={onShowNew}>{t.approval.showNew}</Button>}>{t.approval.changed}</Notice></div> : null}
        {pending ? null : <Decided approval={approval} />}
        {pending && project.data && !mayDecide ? <div className="mt-3"><Notice tone="info">{t.approval.mayNotDecide}</Notice></div> : null}
        <div className="mt-4 grid items-start gap-3 lg:grid-cols-3">
          <div className="flex flex-col gap-3">
            <Block title={t.approval.asked}>
              <Prose text={approval.summary} className="max-w-prose" />
              {approval.payload !== undefined && approval.payload !== null ? <div className="mt-3"><PayloadView value={approval.payload} /></div> : null}
            </Block>
            <Arguments approval={approval} editable={pending && approval.arguments_editable && mayDecide} text={argumentText} invalid={edited.kind === "invalid"} changed={edited.kind === "changed"} onChange={setArgumentText} />
          </div>
          <div className="flex flex-col gap-3">
            <Block title={t.approval.why}>
              <p className="first-letter:uppercase">{approval.policy.rule}</p>
              <p className="mt-1 text-soft">{t.approval.autonomy}: {labelOf(approval.policy.autonomy)} · {t.inbox.category}: {labelOf(approval.category)}</p>
            </Block>
            <Consequences approval={approval} />
          </div>
          <div className="flex flex-col gap-3">
            <AgentView approval={approval} threshold={project.data?.confidence_threshold} />
            <Spend approval={approval} />
          </div>
        </div>
        {diff ? (
          <section aria-label={t.approval.changes} className="mt-5">
            <h2 className="mb-2 text-[13.5px] font-semibold">{t.approval.changes}</h2>
            <Suspense fallback={<SkeletonRows rows={8} />}>
              <DiffViewer diff={diff} sent={approval.comments.flatMap(onLine)} {...(pending && mayDecide ? { review: reviewing } : {})} />
            </Suspense>
          </section>
        ) : null}
        <Timeline approval={approval} />
      </div>
      {pending && mayDecide ? (
        <DecisionBar approval={approval} state={state} edited={edited} moved={moved} onSent={() => dispatch({ type: "clear" })} />
      ) : null}
    </div>
  );
}

function Header({ approval }: { approval: ApprovalDetail }) {
  const p = approval.project_id;
  return (
    <header>
      <div className="flex flex-wrap items-center gap-2">
        <Badge tone={toneOf(approval.lane)}>{labelOf(approval.lane)}</Badge>
        {approval.category !== approval.lane ? <Badge tone={toneOf(approval.category)}>{labelOf(approval.category)}</Badge> : null}
        <Status value={approval.state} />
      </div>
      <h1 className="mt-1.5 text-lg leading-6 font-semibold">{approval.title}</h1>
      <p className="mt-1.5 flex flex-wrap items-center gap-x-3 gap-y-1 text-soft">
        <ActorName actor={approval.requested_by} />
        <Ago at={approval.requested_at} />
        {approval.state === "pending" && approval.expires_at ? <Deadline at={approval.expires_at} /> : null}
        {approval.story_id ? <Link to="/projects/$projectId/stories/$storyId" params={{ projectId: p, storyId: approval.story_id }} className="text-accent hover:underline">{approval.story ? `#${approval.story.number} ${approval.story.title}` : t.approval.story}</Link> : null}
        {approval.run_id ? <Link to="/projects/$projectId/runs/$runId" params={{ projectId: p, runId: approval.run_id }} className="text-accent hover:underline">{t.approval.run}</Link> : null}
        <span className="font-mono text-[11.5px]" title={approval.digest}>{t.approval.digest} {shortHash(approval.digest)}</span>
      </p>
    </header>
  );
}

function Block({ title, children, tools }: { title: string; children: ReactNode; tools?: ReactNode }) {
  return (
    <section aria-label={title} className="card p-3.5">
      <div className="mb-1.5 flex items-center gap-2">
        <h2 className="text-[12px] font-semibold text-soft">{title}</h2>
        {tools ? <div className="ml-auto">{tools}</div> : null}
      </div>
      {children}
    </section>
  );
}

function Decided({ approval }: { approval: ApprovalDetail }) {
  const { decided } = approval;
  const good = approval.state.startsWith("approved");
  const Icon = good ? CircleCheck : approval.state === "rejected" ? CircleSlash : MessageSquareDiff;
  return (
    <section role="status" aria-label={t.approval.bar} className={clsx("mt-3 flex items-start gap-3 rounded-lg border p-3.5", good ? "border-ok/40 bg-ok-wash" : "border-line-strong bg-raised")}>
      <Icon size={18} aria-hidden="true" className={clsx("mt-0.5 shrink-0", good ? "text-ok" : "text-soft")} />
      <div className="min-w-0">
        <p className="font-medium">
          {labelOf(approval.state)}
          {decided ? <> {t.approval.decidedBy(decided.by.name)}, <time dateTime={decided.at}>{dateTime(decided.at)}</time></> : null}
        </p>
        {t.approval.over[approval.state] ? <p className="text-soft">{t.approval.over[approval.state]}</p> : null}
        {decided?.note ? <Prose text={decided.note} className="mt-1" /> : null}
        {approval.comments.length > 0 ? (
          <ul aria-label={t.approval.sentComments} className="mt-2 flex flex-col gap-1">
            {approval.comments.map((comment) => (
              <li key={`${comment.path}:${comment.side}:${comment.line}:${comment.body}`}><span className="font-mono text-[12px] text-soft">{t.approval.line(comment.path, comment.line ?? null)}</span> {comment.body}</li>
            ))}
          </ul>
        ) : null}
      </div>
      <Link to="/inbox" className={buttonClass("outline", "sm", "ml-auto")}>{t.approval.backToInbox}</Link>
    </section>
  );
}

function Consequences({ approval }: { approval: ApprovalDetail }) {
  const rows = [
    { key: "approve", icon: <Check size={14} aria-hidden="true" className="text-ok" /> },
    { key: "request_changes", icon: <RotateCcw size={14} aria-hidden="true" className="text-warn" /> },
    { key: "reject", icon: <X size={14} aria-hidden="true" className="text-bad" /> },
  ] as const;
  return (
    <Block title={t.approval.what}>
      <dl className="flex flex-col gap-2">
        {rows.map(({ key, icon }) => (
          <div key={key}>
            <dt className="flex items-center gap-1.5 font-medium">{icon}{t.approval.consequences[key]}</dt>
            <dd className="pl-5">{approval.consequences[key]}</dd>
          </div>
        ))}
      </dl>
    </Block>
  );
}

function AgentView({ approval, threshold }: { approval: ApprovalDetail; threshold: number | undefined }) {
  const { confidence, alternatives } = approval;
  const known = confidence !== null && confidence !== undefined;
  if (!known && alternatives.length === 0) return null;
  return (
    <Block title={t.approval.confidenceLabel} tools={known ? <Confidence value={confidence} threshold={threshold} /> : null}>
      {known ? <progress className="bar mb-2.5" max={1} value={confidence} data-tone={threshold !== undefined && confidence < threshold ? "warn" : "ok"} aria-label={t.approval.confidenceLabel} /> : null}
      {alternatives.length > 0 ? (
        <>
          <p className="text-soft">{t.approval.alternatives}</p>
          <ul className="mt-1 list-disc pl-4.5">{alternatives.map((text) => <li key={text}>{text}</li>)}</ul>
        </>
      ) : (
        <p className="text-soft">{t.approval.noAlternatives}</p>
      )}
    </Block>
  );
}

function Spend({ approval }: { approval: ApprovalDetail }) {
  const limit = approval.run?.limits?.max_cost_micro_usd;
  return (
    <Block title={t.cost.soFar} tools={<Cost real={approval.cost_micro_usd} simulated={approval.simulated_micro_usd} />}>
      {approval.run ? (
        <p className="mb-2 text-soft">
          {t.approval.costRun}: <Cost real={approval.run.cost_micro_usd} simulated={approval.run.simulated_micro_usd} />
          {limit ? ` ${t.approval.runLimit(money(limit))}` : ""}
        </p>
      ) : null}
      <p className="mb-1 text-soft">{t.approval.projectBudget}</p>
      <BudgetBar budget={approval.budget} label={t.cost.budget} />
    </Block>
  );
}

function Arguments({ approval, editable, text, invalid, changed, onChange }: {
  approval: ApprovalDetail; editable: boolean; text: string | null; invalid: boolean; changed: boolean; onChange: (text: string | null) => void;
}) {
  const original = JSON.stringify(approval.arguments, null, 2);
  const empty = approval.arguments === null || original === "{}" || original === "[]";
  if (empty && !editable) return null;
  if (!editable) {
    return (
      <details className="card p-3.5">
        <summary className="text-[12px] font-semibold text-soft">{t.approval.arguments}</summary>
        <div className="mt-2"><JsonView value={approval.arguments} label={t.approval.arguments} /></div>
      </details>
    );
  }
  return (
    <Block title={t.approval.arguments} tools={text !== null ? <Button tone="ghost" onClick={() => onChange(null)}>{t.approval.argumentsReset}</Button> : null}>
      <textarea
        aria-label={t.approval.arguments}
        aria-invalid={invalid || undefined}
        aria-describedby="arguments-help"
        spellCheck={false}
        rows={Math.min(16, original.split("\n").length + 1)}
        value={text ?? original}
        onChange={(event) => onChange(event.target.value === original ? null : event.target.value)}
        className="field font-mono text-[12px]"
      />
      <p id="arguments-help" className={clsx("mt-1 text-[12px]", invalid ? "text-bad" : "text-soft")}>
        {invalid ? t.errors.json : changed ? `${t.approval.argumentsChanged}. ${t.approval.argumentsEditable}` : t.approval.argumentsEditable}
      </p>
    </Block>
  );
}

function Timeline({ approval }: { approval: ApprovalDetail }) {
  const items = approval.timeline;
  if (!items?.length) return null;
  return (
    <section aria-label={t.approval.timeline} className="mt-5">
      <h2 className="mb-2 text-[13.5px] font-semibold">{t.approval.timeline}</h2>
      <ol className="card divide-y divide-line">
        {items.map((item, index) => (
          <li key={`${item.at}-${index}`} className="flex flex-wrap items-center gap-x-3 px-3.5 py-2">
            {item.actor ? <ActorName actor={item.actor} className="text-soft" /> : null}
            <span className="min-w-0 flex-1">{item.text ?? labelOf(item.type.replaceAll(".", " "))}</span>
            <Ago at={item.at} className="text-soft" />
          </li>
        ))}
      </ol>
    </section>
  );
}

type Edited = { kind: "same" } | { kind: "invalid" } | { kind: "changed"; value: Json };

function DecisionBar({ approval, state, edited, moved, onSent }: { approval: ApprovalDetail; state: ReviewState; edited: Edited; moved: boolean; onSent: () => void }) {
  const [note, setNote] = useState("");
  const [hint, setHint] = useState<string | null>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const decision = useDecision(onSent);
  const comments = state.comments;
  const send = (outcome: Outcome) => {
    if (decision.isPending) return;
    if (outcome === "changes_requested" && note.trim() === "" && comments.length === 0) {
      setHint(t.approval.needReason);
      area.current?.focus();
      return;
    }
    setHint(null);
    decision.mutate({
      approval,
      outcome: outcome === "approved" && edited.kind === "changed" ? "approved_with_changes" : outcome,
      note,
      ...(outcome === "changes_requested" ? { comments } : {}),
      ...(outcome === "approved" && edited.kind === "changed" ? { arguments: edited.value } : {}),
    });
  };
  const focusNote = () => area.current?.focus();
  const approve = useRef<HTMLButtonElement>(null);
  const request = useRef<HTMLButtonElement>(null);
  const reject = useRef<HTMLButtonElement>(null);
  const key = (keyName: string, label: string, run: () => void) => ({ keys: keyName, label, group: t.groups.approval, run });
  // A key only brings the focus to its button; Enter decides. A stray letter never does.
  useShortcuts([
    key("a", t.keys.approve, () => approve.current?.focus()),
    key("c", t.keys.changes, () => (note.trim() || comments.length ? request.current?.focus() : focusNote())),
    key("d", t.keys.reject, () => reject.current?.focus()),
    key("n", t.keys.comment, focusNote),
  ]);
  return (
    <section aria-label={t.approval.bar} className="sticky bottom-0 z-10 border-t border-line-strong bg-panel/95 px-3 py-2.5 shadow-[0_-4px_16px_rgb(0_0_0/0.08)] backdrop-blur md:px-6">
      <div className="mx-auto flex max-w-7xl flex-col gap-2 md:flex-row md:items-end">
        <div className="min-w-0 flex-1">
          {decision.isError ? <div className="mb-2"><InlineError error={decision.error} title={t.approval.notDecided} /></div> : null}
          <p role="status" className={clsx("text-[12px]", hint ? "mb-1 text-bad" : comments.length > 0 ? "mb-1 text-accent" : "sr-only")}>
            {hint ?? (comments.length > 0 ? t.approval.collected(comments.length) : "")}
          </p>
          <textarea ref={area} rows={1} aria-label={t.approval.note} placeholder={t.approval.notePlaceholder} value={note} onChange={(event) => { setNote(event.target.value); setHint(null); }} className="field block max-h-40 min-h-9 [field-sizing:content]" />
        </div>
        <div className="grid grid-cols-2 gap-2 md:flex">
          <Button ref={approve} tone="ok" size="md" className="max-md:col-span-2" disabled={moved || edited.kind === "invalid"} busy={decision.isPending} onClick={() => send("approved")} hint="A">
            {edited.kind === "changed" ? t.approval.approveChanged : t.approval.approve}
          </Button>
          <Button ref={request} size="md" disabled={moved} busy={decision.isPending} onClick={() => send("changes_requested")} hint="C">{t.approval.request}</Button>
          <Button ref={reject} tone="danger" size="md" disabled={moved} busy={decision.isPending} onClick={() => send("rejected")} hint="D">{t.approval.reject}</Button>
        </div>
      </div>
    </section>
  );
}
