import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { clsx } from "clsx";
import { Columns3, List, Plus, X } from "lucide-react";
import { useState, type DragEvent } from "react";
import * as queries from "../api/queries";
import type { Sprint, Story } from "../api/types";
import { StoryCard } from "../board/StoryCard";
import { SprintHeader } from "../board/SprintHeader";
import { COLUMNS, columnOf, columnsOf, filterStories, moveTo, needsPerson, neighbour, step, stepList, type Column, type Direction } from "../board/columns";
import { possible, storyActions, useStoryCommand } from "../board/commands";
import { NewSprintDialog, NewStoryDialog, StoryCommandDialog, type Asking } from "../board/dialogs";
import { t } from "../i18n/en";
import { useShortcuts } from "../keyboard";
import { can } from "../shell/project";
import { ownerName, waitingText } from "../story/owner";
import { Button } from "../ui/button";
import { ActorIcon, Cost } from "../ui/entity";
import { EmptyState, Loaded } from "../ui/feedback";
import { FilterSelect, SearchInput } from "../ui/form";
import { TableFrame } from "../ui/page";
import { Attention, Dot, Status, labelOf, toneOf } from "../ui/status";
import { Ago } from "../ui/time";
import { toast } from "../ui/toast";

export function BoardPage() {
  const { projectId } = useParams({ from: "/app/projects/$projectId/" });
  const search = useSearch({ from: "/app/projects/$projectId/" });
  const navigate = useNavigate({ from: "/projects/$projectId/" });
  const project = useQuery(queries.project(projectId));
  const stories = useQuery(queries.stories(projectId));
  const sprints = useQuery(queries.sprints(projectId));
  const mayWrite = can(project.data?.role, "write");
  const shown = shownSprint(sprints.data ?? [], search.sprint);
  const set = (patch: Partial<typeof search>) => void navigate({ search: (known) => prune({ ...known, ...patch }), replace: true });
  const list = search.view === "list";
  useShortcuts([
    { keys: "v", label: t.keys.views, group: t.groups.board, run: () => set({ view: list ? undefined : "list" }) },
    { keys: "n", label: t.keys.create, group: t.groups.board, run: () => mayWrite && set({ new: "story" }) },
  ]);
  return (
    <div className="flex min-h-full flex-col">
      <h1 className="sr-only">{project.data?.name} {t.board.title}</h1>
      <div className="gutter flex flex-wrap items-center gap-2 border-b border-line bg-panel py-2">
        <FilterSelect label={t.board.sprint} value={search.sprint ?? shown?.id ?? ""} onChange={(sprint) => set({ sprint: sprint || "all" })}
          options={[{ value: "all", label: t.board.allSprints }, { value: "backlog", label: t.board.noSprint }, ...(sprints.data ?? []).map((item) => ({ value: item.id, label: t.board.sprintState(item.name, labelOf(item.state)) }))]} />
        <SearchInput label={t.board.search} value={search.q ?? ""} onChange={(q) => set({ q })} className="w-44 max-sm:w-28 max-sm:flex-1" />
        <FilterSelect label={t.board.phase} value={search.phase ?? ""} onChange={(phase) => set({ phase })}
          options={[{ value: "", label: `${t.board.phase}: ${t.common.all}` }, ...[...COLUMNS.slice(1), "blocked", "cancelled"].map((value) => ({ value, label: labelOf(value) }))]} />
        {search.q || search.phase ? <Button tone="ghost" onClick={() => set({ q: undefined, phase: undefined })}><X size={13} aria-hidden="true" />{t.common.clearFilters}</Button> : null}
        <div role="group" aria-label={t.board.view} className="ml-auto flex overflow-hidden rounded-md border border-line-strong">
          <ViewButton label={t.board.title} active={!list} onClick={() => set({ view: undefined })} icon={<Columns3 size={14} aria-hidden="true" />} />
          <ViewButton label={t.board.list} active={list} onClick={() => set({ view: "list" })} icon={<List size={14} aria-hidden="true" />} />
        </div>
        {mayWrite ? (
          <>
            <Button onClick={() => set({ new: "sprint" })}>{t.board.newSprint}</Button>
            <Button tone="primary" onClick={() => set({ new: "story" })} hint="N"><Plus size={14} aria-hidden="true" />{t.board.newStory}</Button>
          </>
        ) : null}
      </div>
      {shown ? <SprintHeader sprint={shown} sprints={sprints.data ?? []} stories={stories.data ?? []} project={project.data} mayWrite={mayWrite} /> : null}
      <Loaded query={stories} skeleton={<BoardSkeleton />}>
        {(all) => {
          const filter = { sprint: search.sprint === "all" ? undefined : (search.sprint ?? shown?.id), phase: search.phase, q: search.q };
          const visible = filterStories(all, filter);
          if (all.length === 0) return <EmptyState title={t.board.empty} detail={t.board.emptyDetail} action={mayWrite ? <Button tone="primary" onClick={() => set({ new: "story" })}>{t.board.newStory}</Button> : null} />;
          if (visible.length === 0) return <EmptyState title={t.board.emptyFiltered} action={<Button onClick={() => set({ q: undefined, phase: undefined, sprint: "all" })}>{t.board.allSprints}</Button>} />;
          if (!list && search.phase === "cancelled") return <EmptyState title={t.board.cancelledOnly} action={<Button onClick={() => set({ view: "list" })}>{t.board.showList}</Button>} />;
          return <Stories projectId={projectId} stories={visible} list={list} mayWrite={mayWrite} mayDecide={can(project.data?.role, "decide")} />;
        }}
      </Loaded>
      <NewStoryDialog projectId={projectId} sprintId={shown?.id} open={search.new === "story" && mayWrite} onClose={() => set({ new: undefined })} />
      <NewSprintDialog projectId={projectId} open={search.new === "sprint" && mayWrite} onClose={() => set({ new: undefined })} />
    </div>
  );
}

function prune<T extends Record<string, string | undefined>>(search: T): T {
  return Object.fromEntries(Object.entries(search).filter(([, value]) => value)) as T;
}

/** Without a choice the running sprint is shown; without one, everything. */
function shownSprint(sprints: Sprint[], chosen: string | undefined): Sprint | undefined {
  if (chosen) return sprints.find((sprint) => sprint.id === chosen);
  return sprints.find((sprint) => sprint.state === "active") ?? sprints.find((sprint) => sprint.state === "review");
}

function ViewButton({ label, active, onClick, icon }: { label: string; active: boolean; onClick: () => void; icon: React.ReactNode }) {
  return (
    <button type="button" aria-pressed={active} onClick={onClick} className={clsx("flex h-7 items-center gap-1 px-2 text-xs -outline-offset-2", active ? "bg-raised font-medium" : "text-soft hover:text-ink")}>
      {icon}{label}
    </button>
  );
}

function BoardSkeleton() {
  return (
    <div className="gutter flex gap-3 overflow-hidden py-4" role="status">
      <span className="sr-only">{t.common.loading}</span>
      {COLUMNS.slice(0, 5).map((column) => (
        <div key={column} className="flex w-60 shrink-0 flex-col gap-2"><div className="skeleton h-5 w-24" /><div className="skeleton h-24" /><div className="skeleton h-20" /></div>
      ))}
    </div>
  );
}

function Stories({ projectId, stories, list, mayWrite, mayDecide }: { projectId: string; stories: Story[]; list: boolean; mayWrite: boolean; mayDecide: boolean }) {
  const navigate = useNavigate();
  const [cursor, setCursor] = useState<string | null>(null);
  const [asking, setAsking] = useState<Asking | null>(null);
  const command = useStoryCommand(projectId);
  const columns = columnsOf(stories);
  const current = stories.find((story) => story.id === cursor) ?? null;

  const tryMove = (story: Story, target: Column) => {
    const move = moveTo(story, target);
    if (move.kind === "command") command.mutate({ story, command: { name: move.name } });
    if (move.kind === "refused") toast(t.board.refused(story.title), { tone: "bad", detail: t.board.guardPrefix(t.board.guards[move.guard] ?? move.guard) });
  };
  const shift = (by: 1 | -1) => () => {
    const column = current ? columnOf(current) : null;
    const target = column ? neighbour(column, by) : null;
    if (current && target) tryMove(current, target);
  };
  // Only a key moves the focus: a card that merely appears must not take it from whoever is typing.
  const go = (direction: Direction) => () => {
    const sideways = direction === "left" || direction === "right";
    const next = list ? (sideways ? cursor : stepList(stories, cursor, direction === "down" ? 1 : -1)) : step(columns, cursor, direction);
    setCursor(next);
    if (next) document.querySelector<HTMLElement>(`[data-story="${next}"] a`)?.focus();
  };
  const key = (keyName: string, label: string, run: () => void) => ({ keys: keyName, label, group: t.groups.board, run });
  const onCurrent = (run: (story: Story) => void) => () => {
    if (current && mayWrite) run(current);
  };
  useShortcuts([
    key("j", t.keys.next, go("down")), key("k", t.keys.previous, go("up")), key("h", t.keys.left, go("left")), key("l", t.keys.right, go("right")),
    key("down", t.keys.next, go("down")), key("up", t.keys.previous, go("up")), key("left", t.keys.left, go("left")), key("right", t.keys.right, go("right")),
    key("shift+right", t.keys.moveRight, onCurrent(shift(1))), key("shift+left", t.keys.moveLeft, onCurrent(shift(-1))),
    key("s", t.keys.start, onCurrent((story) => command.mutate({ story, command: { name: "start" } }))),
    key("b", t.keys.block, onCurrent((story) => {
      if (story.phase === "blocked") command.mutate({ story, command: { name: "unblock" } });
      else if (possible(story).block) setAsking({ story, what: "block" });
    })),
    key("m", t.keys.moveSprint, onCurrent((story) => { if (possible(story).move) setAsking({ story, what: "move" }); })),
    key("o", t.keys.open, () => void (current && navigate({ to: "/projects/$projectId/stories/$storyId", params: { projectId, storyId: current.id } }))),
  ]);
  const actions = (story: Story) => (mayWrite ? storyActions(story, (input) => command.mutate({ story, command: input }), setAsking, true) : []);
  return (
    <>
      {list ? <StoryTable stories={stories} cursor={cursor} mayDecide={mayDecide} onFocus={setCursor} /> : (
        <div className="gutter flex min-h-0 flex-1 gap-2 overflow-x-auto py-4">
          {COLUMNS.map((column) => (
            <BoardColumn key={column} column={column} stories={columns[column]} cursor={cursor} mayWrite={mayWrite} mayDecide={mayDecide} onFocus={setCursor} actions={actions} onDropStory={(id) => { const story = stories.find((item) => item.id === id); if (story && mayWrite) tryMove(story, column); }} />
          ))}
        </div>
      )}
      <StoryCommandDialog asking={asking} onClose={() => setAsking(null)} onCommand={(story, input) => command.mutate({ story, command: input })} />
    </>
  );
}

function BoardColumn({ column, stories, cursor, mayWrite, mayDecide, onFocus, actions, onDropStory }: {
  column: Column; stories: Story[]; cursor: string | null; mayWrite: boolean; mayDecide: boolean; onFocus: (id: string) => void; actions: (story: Story) => ReturnType<typeof storyActions>; onDropStory: (id: string) => void;
}) {
  const [over, setOver] = useState(false);
  const name = column === "waiting" ? t.phase.waiting : labelOf(column);
  const drag = {
    onDragOver: (event: DragEvent) => { event.preventDefault(); setOver(true); },
    onDragLeave: () => setOver(false),
    onDrop: (event: DragEvent) => { event.preventDefault(); setOver(false); onDropStory(event.dataTransfer.getData("text/plain")); },
  };
  const dot = <Dot tone={column === "waiting" ? "neutral" : toneOf(column)} />;
  // An empty column is a place to drop on and a name, no more.
  if (stories.length === 0) {
    return (
      <section aria-label={t.board.column(name, 0)} {...drag} className={clsx("flex w-9 shrink-0 flex-col items-center gap-2 rounded-lg border border-dashed border-line py-3", over && "border-accent bg-accent-wash")}>
        {dot}
        <h2 className="text-xs font-medium text-faint [writing-mode:vertical-rl]">{name}</h2>
      </section>
    );
  }
  return (
    <section aria-label={t.board.column(name, stories.length)} {...drag} className={clsx("flex max-w-md min-w-55 flex-1 flex-col rounded-lg bg-well p-2", over && "bg-accent-wash")}>
      <h2 className="mb-1.5 flex items-center gap-1.5 px-1 py-1 text-xs font-semibold text-soft">
        {dot}{name}<span className="ml-auto font-normal text-faint tabular">{stories.length}</span>
      </h2>
      <ul className="flex flex-col gap-2">
        {stories.map((story) => <StoryCard key={story.id} story={story} current={story.id === cursor} mayWrite={mayWrite} mayDecide={mayDecide} onFocus={() => onFocus(story.id)} actions={actions(story)} />)}
      </ul>
    </section>
  );
}

function StoryTable({ stories, cursor, mayDecide, onFocus }: { stories: Story[]; cursor: string | null; mayDecide: boolean; onFocus: (id: string) => void }) {
  return (
    <div className="gutter py-4">
      <TableFrame label={t.board.list} wide heads={[t.board.number, t.board.storyTitle, t.board.phase, t.board.owner, { label: t.board.points, right: true }, { label: t.board.cost, right: true }, { label: t.board.updated, right: true }]}>
        {stories.map((story) => (
          <tr key={story.id} data-story={story.id} onFocus={() => onFocus(story.id)} className={clsx("hover:bg-hover", story.id === cursor && "bg-accent-wash")}>
            <td className="px-3 py-2 text-faint tabular">{story.number}</td>
            <td className="max-w-md px-3 py-2"><Link to="/projects/$projectId/stories/$storyId" params={{ projectId: story.project_id, storyId: story.id }} className="font-medium break-words hover:underline">{story.title}</Link><p className="truncate text-xs text-soft first-letter:uppercase">{waitingText(story)}</p></td>
            <td className="px-3 py-2">{story.started || story.phase === "cancelled" ? <Status value={story.phase} /> : <Status value={t.phase.waiting} />}</td>
            <td className="px-3 py-2 whitespace-nowrap">{needsPerson(story) ? <Attention>{mayDecide ? t.board.needsYou : t.board.needsPerson}</Attention> : story.owner.kind === "none" ? <span className="text-faint">–</span> : <span className="flex items-center gap-1"><ActorIcon type={story.owner.kind} />{ownerName(story)}</span>}</td>
            <td className="px-3 py-2 text-right tabular">{story.points ?? "–"}</td>
            <td className="px-3 py-2 text-right"><Cost real={story.cost_micro_usd} simulated={story.simulated_micro_usd} /></td>
            <td className="px-3 py-2 text-right whitespace-nowrap text-soft"><Ago at={story.updated_at} /></td>
          </tr>
        ))}
      </TableFrame>
    </div>
  );
}
