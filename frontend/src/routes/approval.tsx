import { useQuery } from "@tanstack/react-query";
import { Navigate, useParams } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useMemo, useReducer, useRef, useState, type Dispatch } from "react";
import { ApiError } from "../api/client";
import * as queries from "../api/queries";
import type { ApprovalDetail } from "../api/types";
import { argumentsOf } from "../approval/arguments";
import { Arguments, Record } from "../approval/Arguments";
import { DecisionBar } from "../approval/DecisionBar";
import { Facts } from "../approval/Facts";
import { useNote } from "../approval/note";
import { Criteria, Decided, Header, Remarks, Timeline } from "../approval/parts";
import { PayloadView } from "../approval/PayloadView";
import { Unsent } from "../approval/Unsent";
import { loadDraft, placed, remarksOf, review, saveDraft, type PlacedRemark, type ReviewAction, type ReviewState } from "../diff/comments";
import { t } from "../i18n/en";
import { useNarrow } from "../narrow";
import { Missing } from "../shell/fallbacks";
import { can } from "../shell/project";
import { Button } from "../ui/button";
import { Delta } from "../ui/delta";
import { Disclosure } from "../ui/disclosure";
import { Loaded, Notice, SkeletonRows } from "../ui/feedback";
import { Prose } from "../ui/prose";

const DiffViewer = lazy(() => import("../diff/DiffViewer"));

/** A link that names only the approval finds its project here, however long ago it was asked. */
export function ApprovalLinkPage() {
  const { approvalId } = useParams({ from: "/app/approvals/$approvalId" });
  const place = useQuery(queries.approvalPlace(approvalId));
  return (
    <Loaded query={place}>
      {(projectId) => (projectId === null ? <Missing /> : <Navigate to="/projects/$projectId/approvals/$approvalId" params={{ projectId, approvalId }} replace />)}
    </Loaded>
  );
}

export function ApprovalPage() {
  const { projectId, approvalId } = useParams({ from: "/app/projects/$projectId/approvals/$approvalId" });
  const query = useQuery(queries.approval(projectId, approvalId));
  if (query.error instanceof ApiError && query.error.status === 404) return <Missing />;
  return (
    <Loaded query={query} skeleton={<SkeletonRows rows={10} className="mx-auto max-w-5xl p-5" />}>
      {(data) => <Shown key={approvalId} newest={data} onRefetch={() => void query.refetch()} refetching={query.isFetching} />}
    </Loaded>
  );
}

/**
 * What is on screen stays the version that was opened: a decision is bound to its digest. When the
 * question moves on, the page says so and shows the new version on request.
 */
function Shown({ newest, onRefetch, refetching }: { newest: ApprovalDetail; onRefetch: () => void; refetching: boolean }) {
  const [opened, setOpened] = useState(newest);
  const moved = newest.state === "pending" && newest.digest !== opened.digest;
  const shown = moved ? opened : newest;
  return <Detail key={shown.digest} approval={shown} moved={moved} onShowNew={() => setOpened(newest)} onRefetch={onRefetch} refetching={refetching} />;
}

interface DetailProps {
  approval: ApprovalDetail;
  moved: boolean;
  onShowNew: () => void;
  onRefetch: () => void;
  refetching: boolean;
}

function Detail({ approval, moved, onShowNew, onRefetch, refetching }: DetailProps) {
  const project = useQuery(queries.project(approval.project_id));
  const narrow = useNarrow();
  const [state, dispatch] = useReducer(review, undefined, () => loadDraft(approval.id, approval.digest));
  const [note, setNote] = useNote(approval.id);
  const [argumentText, setArgumentText] = useState<string | null>(null);
  const decidedBox = useRef<HTMLElement>(null);
  const [mine, setMine] = useState(false);
  const edited = argumentsOf(argumentText, approval.arguments);
  const pending = approval.state === "pending";
  useEffect(() => {
    // A draft is kept when somebody else was quicker: only sending it, or its writer, ends it.
    if (pending) saveDraft(approval.id, approval.digest, state.comments);
  }, [approval.id, approval.digest, pending, state.comments]);
  useEffect(() => {
    if (mine && !pending) decidedBox.current?.focus();
  }, [mine, pending]);
  const mayDecide = can(project.data?.role, "decide");
  const reviewing = useMemo(() => ({ state, dispatch }), [state]);
  const { inDiff, general } = useMemo(() => placed(remarksOf(approval), approval.diff?.files.map((file) => file.path) ?? []), [approval]);
  const sent = () => {
    dispatch({ type: "clear" });
    saveDraft(approval.id, approval.digest, []);
    setNote("");
    setMine(true);
  };
  const facts = <Facts approval={approval} threshold={project.data?.confidence_threshold} />;
  const payload = approval.payload;
  return (
    <div className="flex min-h-full flex-col">
      <div className="mx-auto grid w-full max-w-[78rem] flex-1 content-start items-start gap-x-6 px-4 pt-4 pb-6 md:px-6 lg:grid-cols-[minmax(0,1fr)_20rem]">
        <div className="flex min-w-0 flex-col gap-3">
          <Header approval={approval} />
          {moved ? <Notice tone="warn" action={<Button onClick={onShowNew}>{t.approval.showNew}</Button>}>{t.approval.changed}</Notice> : null}
          {pending ? null : <Decided approval={approval} ref={decidedBox} />}
          <Unsent approval={approval} note={note} onDiscardNote={() => setNote("")} />
          {pending && project.data && !mayDecide ? <Notice tone="info">{t.approval.mayNotDecide}</Notice> : null}
          <section aria-label={t.approval.asked} className="flex max-w-[54rem] flex-col gap-3">
            <Prose text={approval.summary} />
            {payload !== undefined && payload !== null ? <div className="card p-3.5"><PayloadView value={payload} /></div> : null}
          </section>
          {pending && approval.arguments_editable && mayDecide ? <Arguments approval={approval} text={argumentText} invalid={edited.kind === "invalid"} changed={edited.kind === "changed"} onChange={setArgumentText} /> : null}
          {approval.diff_unavailable ? <Notice tone="bad" action={<Button busy={refetching} onClick={onRefetch}>{t.common.retry}</Button>}>{t.approval.diffUnavailable} {approval.diff_unavailable}</Notice> : null}
          {narrow ? <Changes approval={approval} sent={inDiff} folded {...(pending && mayDecide ? { review: reviewing } : {})} /> : null}
          <Criteria criteria={approval.story?.acceptance_criteria ?? []} narrow={narrow} />
          <Remarks remarks={general} />
          {narrow ? <Disclosure summary={t.approval.facts} summaryClass="min-h-10 gap-1 font-medium text-soft"><div className="pt-1">{facts}</div></Disclosure> : null}
          {narrow ? null : <Changes approval={approval} sent={inDiff} {...(pending && mayDecide ? { review: reviewing } : {})} />}
          <Timeline approval={approval} folded={narrow} />
          <Record approval={approval} />
        </div>
        {narrow ? null : <aside aria-label={t.approval.facts} className="mt-4 lg:sticky lg:top-4 lg:mt-0">{facts}</aside>}
      </div>
      {pending && mayDecide ? (
        <DecisionBar approval={approval} note={note} onNote={setNote} comments={state.comments} edited={edited} moved={moved} onSent={sent} />
      ) : null}
    </div>
  );
}

/** The change itself; on a phone behind one line that says how large it is. */
function Changes({ approval, sent, review: reviewing, folded = false }: { approval: ApprovalDetail; sent: PlacedRemark[]; review?: { state: ReviewState; dispatch: Dispatch<ReviewAction> }; folded?: boolean }) {
  const [open, setOpen] = useState(!folded);
  const diff = approval.diff;
  if (!diff) return null;
  return (
    <section aria-label={t.approval.changes}>
      <h2 className="sr-only">{t.approval.changes}</h2>
      {folded ? (
        <Button className="mb-2 h-11! w-full justify-start!" aria-expanded={open} onClick={() => setOpen(!open)}>
          <span>{t.diff.files(diff.files.length)}</span>
          <Delta additions={diff.additions} deletions={diff.deletions} />
          <span className="ml-auto text-accent">{open ? t.approval.hideDiff : t.approval.reviewDiff}</span>
        </Button>
      ) : null}
      {open ? (
        <Suspense fallback={<SkeletonRows rows={8} />}>
          <DiffViewer diff={diff} sent={sent} {...(reviewing ? { review: reviewing } : {})} />
        </Suspense>
      ) : null}
    </section>
  );
}
