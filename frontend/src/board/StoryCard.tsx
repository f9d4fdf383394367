import { Link } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Ellipsis, RotateCcw } from "lucide-react";
import type { Story } from "../api/types";
import { t } from "../i18n/en";
import { IconButton } from "../ui/button";
import { ActorIcon, Cost } from "../ui/entity";
import { ownerName, waitingText } from "../story/owner";
import { Menu, type MenuItem } from "../ui/menu";
import { Attention } from "../ui/status";
import { Ago } from "../ui/time";
import { needsPerson } from "./columns";

export function StoryCard({ story, current, mayDecide, mayWrite, onFocus, actions }: {
  story: Story; current: boolean; mayDecide: boolean; mayWrite: boolean; onFocus: () => void; actions: (MenuItem | "separator")[];
}) {
  const blocked = story.phase === "blocked";
  const asks = needsPerson(story);
  return (
    <li
      data-story={story.id}
      draggable={mayWrite}
      onDragStart={(event) => event.dataTransfer.setData("text/plain", story.id)}
      onFocus={onFocus}
      className={clsx("card relative p-3 shadow-xs hover:border-line-strong", mayWrite && "cursor-grab", current && "border-accent! ring-1 ring-accent", asks && "border-l-3 border-l-attention!", blocked && "border-l-3 border-l-warn!")}
    >
      <div className="flex items-start gap-1.5">
        <Link to="/projects/$projectId/stories/$storyId" params={{ projectId: story.project_id, storyId: story.id }} draggable={false} className="line-clamp-3 min-w-0 flex-1 font-medium break-words outline-none hover:underline">
          {story.title}
        </Link>
        {actions.length > 0 ? <Menu label={t.common.actions} items={actions} trigger={<IconButton label={`${t.common.actions}: ${story.title}`} className="-my-1 -mr-1.5 size-6"><Ellipsis size={14} aria-hidden="true" /></IconButton>} /> : null}
      </div>
      <p className="mt-0.5 flex items-center gap-2 text-2xs text-faint tabular">
        <span>#{story.number}</span>
        {story.points ? <span>{t.board.pointsShort(story.points)}</span> : null}
        {story.round > 1 ? <span className="flex items-center gap-0.5 text-warn"><RotateCcw size={10} aria-hidden="true" />{t.board.round(story.round)}</span> : null}
      </p>
      {blocked ? <p className="mt-1.5 text-xs text-warn">{t.board.blocked(story.blocked_reason ?? "")}</p> : story.waiting_for ? <p className="mt-1.5 line-clamp-2 text-xs text-soft first-letter:uppercase">{waitingText(story)}</p> : null}
      {story.started ? <div className="mt-2 flex items-center gap-2 text-xs text-soft">
        {asks ? <Attention>{mayDecide ? t.board.needsYou : t.board.needsPerson}</Attention> : story.owner.kind === "none" ? null : (
          <span className="flex min-w-0 items-center gap-1"><ActorIcon type={story.owner.kind} size={13} /><span className="truncate">{ownerName(story)}</span></span>
        )}
        <span className="ml-auto flex shrink-0 items-center gap-2 text-2xs">
          {story.cost_micro_usd > 0 || story.simulated_micro_usd > 0 ? <Cost real={story.cost_micro_usd} simulated={story.simulated_micro_usd} short /> : null}
          <Ago at={story.updated_at} short className="text-faint" />
        </span>
      </div> : null}
    </li>
  );
}
