import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { CircleCheck, CircleSlash, MessageSquareDiff } from "lucide-react";
import type { Ref } from "react";
import type { ApprovalDetail } from "../api/types";
import type { Remark } from "../diff/comments";
import { dateTime } from "../format";
import { t } from "../i18n/en";
import { buttonClass } from "../ui/button";
import { Disclosure } from "../ui/disclosure";
import { ActorName, Json as JsonView } from "../ui/entity";
import { Prose } from "../ui/prose";
import { Badge, Status, labelOf, toneOf } from "../ui/status";
import { Ago, Deadline } from "../ui/time";

/** The pieces of an approval's page that only show. */

export function Header({ approval }: { approval: ApprovalDetail }) {
  const p = approval.project_id;
  return (
    <header>
      <div className="flex flex-wrap items-center gap-x-2 gap-y-1 md:flex-nowrap">
        <Badge tone={toneOf(approval.lane)}>{labelOf(approval.lane)}</Badge>
        {approval.category !== approval.lane ? <Badge tone={toneOf(approval.category)}>{labelOf(approval.category)}</Badge> : null}
        <Status value={approval.state} />
        <h1 className="min-w-0 text-lg leading-6 font-semibold max-md:basis-full">{approval.title}</h1>
      </div>
      <p className="mt-1 flex flex-wrap items-center gap-x-3 gap-y-0.5 text-soft">
        <ActorName actor={approval.requested_by} />
        <Ago at={approval.requested_at} />
        {approval.state === "pending" && approval.expires_at ? <Deadline at={approval.expires_at} /> : null}
        {approval.story_id ? <Link to="/projects/$projectId/stories/$storyId" params={{ projectId: p, storyId: approval.story_id }} className="text-accent hover:underline">{approval.story ? `#${approval.story.number} ${approval.story.title}` : t.approval.story}</Link> : null}
        {approval.run_id ? <Link to="/projects/$projectId/runs/$runId" params={{ projectId: p, runId: approval.run_id }} className="text-accent hover:underline">{t.approval.run}</Link> : null}
      </p>
    </header>
  );
}

export function Decided({ approval, ref }: { approval: ApprovalDetail; ref: Ref<HTMLElement> }) {
  const { decided } = approval;
  const good = approval.state.startsWith("approved");
  const Icon = good ? CircleCheck : approval.state === "rejected" ? CircleSlash : MessageSquareDiff;
  const open = approval.story?.approval_id;
  return (
    <section ref={ref} tabIndex={-1} role="status" aria-label={t.approval.bar} className={clsx("flex items-start gap-3 rounded-lg border p-3.5", good ? "border-ok/40 bg-ok-wash" : "border-line-strong bg-raised")}>
      <Icon size={18} aria-hidden="true" className={clsx("mt-0.5 shrink-0", good ? "text-ok" : "text-soft")} />
      <div className="min-w-0 flex-1">
        <p className="font-medium">
          {labelOf(approval.state)}
          {decided ? <> {t.approval.decidedBy(decided.by.name)}, <time dateTime={decided.at}>{dateTime(decided.at)}</time></> : null}
        </p>
        {t.approval.over[approval.state] ? <p className="text-soft">{t.approval.over[approval.state]}</p> : null}
        {decided?.note ? <Prose text={decided.note} className="mt-1" /> : null}
        {approval.comments.length > 0 ? (
          <ul aria-label={t.approval.sentComments} className="mt-2 flex flex-col gap-1">
            {approval.comments.map((comment) => (
              <li key={`${comment.path}:${comment.side}:${comment.line}:${comment.body}`}><span className="font-mono text-xs text-soft">{t.approval.line(comment.path, comment.line ?? null)}</span> {comment.body}</li>
            ))}
          </ul>
        ) : null}
        {decided?.arguments !== undefined && decided.arguments !== null ? (
          <Disclosure summary={t.approval.decidedArguments} open className="mt-2"><div className="mt-1"><JsonView value={decided.arguments} label={t.approval.decidedArguments} /></div></Disclosure>
        ) : null}
        {open && open !== approval.id ? (
          <p className="mt-1.5"><Link to="/projects/$projectId/approvals/$approvalId" params={{ projectId: approval.project_id, approvalId: open }} className="font-medium text-accent hover:underline">{t.approval.newest}</Link></p>
        ) : null}
      </div>
      <Link to="/inbox" className={buttonClass("outline", "sm", "pointer-coarse:h-10")}>{t.approval.backToInbox}</Link>
    </section>
  );
}

/** More than these push the change off the first screen: they are unfolded on request. */
const SHOWN_AT_ONCE = 4;

/** What must be true when the story is done: what the change is read against. */
export function Criteria({ criteria, narrow }: { criteria: string[]; narrow: boolean }) {
  if (criteria.length === 0) return null;
  return (
    <Disclosure summary={t.approval.criteria(criteria.length)} open={!narrow && criteria.length <= SHOWN_AT_ONCE} summaryClass={narrow ? "min-h-10 gap-1 font-medium text-soft" : "w-fit gap-1 text-xs font-semibold text-soft"}>
      <ul className="mt-1 grid gap-x-6 gap-y-1 xl:grid-cols-2">
        {criteria.map((text) => (
          <li key={text} className="flex items-start gap-2 text-xs">
            <span aria-hidden="true" className="mt-2 size-1 shrink-0 rounded-full bg-faint" />
            <Prose text={text} />
          </li>
        ))}
      </ul>
    </Disclosure>
  );
}

/** What was said in earlier rounds and has no line in what is shown. */
export function Remarks({ remarks }: { remarks: Remark[] }) {
  if (remarks.length === 0) return null;
  return (
    <Disclosure summary={`${t.approval.earlier} (${remarks.length})`} summaryClass="w-fit gap-1 text-xs font-semibold text-soft max-md:min-h-10 max-md:text-sm max-md:font-medium">
      <ul className="mt-1 flex flex-col gap-1.5">
        {remarks.map((remark, index) => (
          <li key={index} className="card px-3 py-2">
            <p className="text-xs text-soft">{[remark.by, remark.path ? t.approval.line(remark.path, remark.line) : ""].filter(Boolean).join(" · ")} {remark.at ? <Ago at={remark.at} /> : null}</p>
            <Prose text={remark.body} />
          </li>
        ))}
      </ul>
    </Disclosure>
  );
}

export function Timeline({ approval, folded }: { approval: ApprovalDetail; folded: boolean }) {
  const items = approval.timeline;
  if (!items.length) return null;
  const list = (
    <ol className="card mt-2 divide-y divide-line">
      {items.map((item, index) => (
        <li key={`${item.at}-${index}`} className="flex flex-wrap items-center gap-x-3 px-3.5 py-2">
          <ActorName actor={item.actor} className="text-soft" />
          <span className="min-w-0 flex-1">{item.text}</span>
          <Ago at={item.at} className="text-soft" />
        </li>
      ))}
    </ol>
  );
  if (folded) return <Disclosure summary={t.approval.timeline} summaryClass="min-h-10 gap-1 font-medium text-soft">{list}</Disclosure>;
  return (
    <section aria-label={t.approval.timeline} className="mt-2">
      <h2 className="text-xs font-semibold text-soft">{t.approval.timeline}</h2>
      {list}
    </section>
  );
}
