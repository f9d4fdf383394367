import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Ellipsis, Hand, RotateCcw } from "lucide-react";
import { useEffect, useRef } from "react";
import type { Story } from "../api/types";
import { t } from "../i18n/en";
import { IconButton } from "../ui/button";
import { ActorIcon, Cost } from "../ui/entity";
import { ownerName, waitingText } from "../story/owner";
import { Menu, type MenuItem } from "../ui/menu";

export function StoryCard({ story, current, onFocus, actions }: { story: Story; current: boolean; onFocus: () => void; actions: (MenuItem | "separator")[] }) {
  const link = useRef<HTMLAnchorElement>(null);
  useEffect(() => {
    // A control of the card that has the focus keeps it.
    if (current && !link.current?.closest("li")?.contains(document.activeElement)) link.current?.focus();
  }, [current]);
  const blocked = story.phase === "blocked";
  return (
    <li
      data-story={story.id}
      draggable
      onDragStart={(event) => event.dataTransfer.setData("text/plain", story.id)}
      onFocus={onFocus}
      className={clsx("card group relative p-2.5 hover:border-line-strong", current && "border-accent! ring-1 ring-accent", blocked && "border-warn/60")}
    >
      <div className="flex items-start gap-1.5">
        <span className="text-xs text-faint tabular">#{story.number}</span>
        <span className="ml-auto flex items-center gap-1.5">
          {story.approval_id ? <Hand size={13} className="text-warn" aria-label={t.story.waitingApproval} role="img" /> : null}
          {story.round > 1 ? <span className="flex items-center gap-0.5 text-2xs text-soft" title={t.board.round(story.round)}><RotateCcw size={11} aria-hidden="true" />{story.round}</span> : null}
          {story.points ? <span className="rounded bg-raised px-1 text-2xs text-soft tabular" title={t.board.points}>{story.points}</span> : null}
          <Menu label={t.common.actions} items={actions} trigger={<IconButton label={`${t.common.actions}: ${story.title}`} className="-my-1 -mr-1 size-6"><Ellipsis size={14} aria-hidden="true" /></IconButton>} />
        </span>
      </div>
      <Link ref={link} to="/projects/$projectId/stories/$storyId" params={{ projectId: story.project_id, storyId: story.id }} draggable={false} className="mt-0.5 line-clamp-3 font-medium outline-none hover:underline">
        {story.title}
      </Link>
      {blocked ? <p className="mt-1 text-warn">{t.board.blocked(story.blocked_reason ?? "")}</p> : story.waiting_for ? <p className="mt-1 line-clamp-2 text-xs text-soft first-letter:uppercase">{waitingText(story)}</p> : null}
      <div className="mt-2 flex flex-wrap items-center justify-between gap-x-2 gap-y-1 text-xs text-soft">
        {story.owner.kind === "none" ? null : (
          <span className="flex min-w-0 items-center gap-1"><ActorIcon type={story.owner.kind} size={13} /><span className="truncate">{ownerName(story)}</span></span>
        )}
        {story.cost_micro_usd > 0 || story.simulated_micro_usd > 0 ? <Cost real={story.cost_micro_usd} simulated={story.simulated_micro_usd} /> : null}
      </div>
    </li>
  );
}
