import { useState } from "react";
import type { ApprovalDetail } from "../api/types";
import { discardUnsent, unsentComments } from "../diff/comments";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Notice } from "../ui/feedback";
import { toast } from "../ui/toast";
import { asText } from "./note";

/** What was written and cannot be sent any more: the question is over, or has moved on. It is kept until its writer lets it go. */
export function Unsent({ approval, note, onDiscardNote }: { approval: ApprovalDetail; note: string; onDiscardNote: () => void }) {
  const [, redraw] = useState(0);
  const pending = approval.state === "pending";
  const comments = unsentComments(approval.id, pending ? approval.digest : undefined);
  const lostNote = pending ? "" : note;
  if (comments.length === 0 && lostNote === "") return null;
  const copy = () => void navigator.clipboard.writeText(asText(lostNote, comments)).then(() => toast(t.common.copied), () => undefined);
  const discard = () => {
    discardUnsent(approval.id, pending ? approval.digest : undefined);
    if (!pending) onDiscardNote();
    redraw((count) => count + 1);
  };
  return (
    <Notice tone="info" action={<span className="flex gap-1.5"><Button onClick={copy}>{t.common.copy}</Button><Button tone="ghost" onClick={discard}>{t.approval.discard}</Button></span>}>
      <p className="font-medium">{pending ? t.approval.unsentEarlier(comments.length) : t.approval.unsent(comments.length, lostNote !== "")}</p>
      <p className="line-clamp-3 whitespace-pre-wrap">{asText(lostNote, comments)}</p>
    </Notice>
  );
}
