import { clsx } from "clsx";
import { ChevronDown, ChevronRight, FilePlus2, FileMinus2, FilePen, FileSymlink, MessageSquarePlus, Plus } from "lucide-react";
import { memo, useMemo, useRef, useState, type Dispatch, type KeyboardEvent, type ReactNode } from "react";
import { Diff, type ChangeData, type GutterOptions, type HunkData, type ViewType } from "react-diff-view";
import "react-diff-view/style/index.css";
import "./diff.css";
import type { Diff as DiffData, FileDiff, LineComment } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Delta } from "../ui/delta";
import { type ReviewAction, type ReviewState } from "./comments";
import { tokensOf } from "./highlight";
import { changeAt, hunksOf, keyOf, languageOf, lineOf } from "./patch";

/** A diff with a file tree; with `review`, lines can be commented on. */

export interface DiffViewerProps {
  diff: DiffData;
  /** Comments that were sent already. */
  sent?: LineComment[];
  review?: { state: ReviewState; dispatch: Dispatch<ReviewAction> };
}

const VIEW_KEY = "syndarix-diff-view";
/** Files longer than this start folded, so that a generated file does not bury the others. */
const FOLD_ABOVE_LINES = 600;

function storedView(): ViewType {
  try {
    return localStorage.getItem(VIEW_KEY) === "split" ? "split" : "unified";
  } catch {
    return "unified";
  }
}

function anchorOf(path: string): string {
  return `file-${path.replaceAll(/[^A-Za-z0-9]+/g, "-")}`;
}

function FileIcon({ status }: { status: FileDiff["status"] }) {
  const Icon = { added: FilePlus2, deleted: FileMinus2, renamed: FileSymlink, modified: FilePen }[status] ?? FilePen;
  const tone = { added: "text-ok", deleted: "text-bad", renamed: "text-info", modified: "text-warn" }[status] ?? "text-faint";
  return <Icon size={14} aria-label={t.diff.status[status] ?? status} className={clsx("shrink-0", tone)} />;
}

export default function DiffViewer({ diff, sent = [], review }: DiffViewerProps) {
  const [view, setView] = useState<ViewType>(storedView);
  const choose = (next: ViewType) => {
    setView(next);
    try {
      localStorage.setItem(VIEW_KEY, next);
    } catch {
      // The choice then lasts for this page.
    }
  };
  const pending = review?.state.comments.length ?? 0;
  return (
    <div className="flex flex-col gap-2">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
        <span className="font-medium">{t.diff.files(diff.files.length)}</span>
        <Delta additions={diff.additions} deletions={diff.deletions} />
        <span className="min-w-0 truncate font-mono text-[11.5px] text-soft">{diff.base_branch} ← {diff.head_branch}</span>
        {pending > 0 ? <span className="text-accent">{t.diff.pending(pending)}</span> : null}
        <div role="group" aria-label={t.diff.view} className="ml-auto flex overflow-hidden rounded-md border border-line-strong">
          {(["unified", "split"] as const).map((kind) => (
            <button key={kind} type="button" aria-pressed={view === kind} onClick={() => choose(kind)} className={clsx("px-2.5 py-0.5 text-[12px] -outline-offset-2", view === kind ? "bg-raised font-medium text-ink" : "text-soft hover:text-ink")}>
              {kind === "unified" ? t.diff.unified : t.diff.split}
            </button>
          ))}
        </div>
      </div>
      <div className="flex items-start gap-4">
        {diff.files.length > 1 ? <FileTree files={diff.files} comments={review?.state.comments ?? []} /> : null}
        <div className="flex min-w-0 flex-1 flex-col gap-3">
          {diff.files.map((file) => (
            <FileSection key={file.path} file={file} view={view} sent={sent} {...(review ? { review } : {})} />
          ))}
          {diff.truncated ? <p className="text-warn">{t.diff.moreFiles}</p> : null}
        </div>
      </div>
    </div>
  );
}

function FileTree({ files, comments }: { files: FileDiff[]; comments: LineComment[] }) {
  const folders = useMemo(() => {
    const map = new Map<string, FileDiff[]>();
    for (const file of files) {
      const folder = file.path.includes("/") ? file.path.slice(0, file.path.lastIndexOf("/")) : "";
      map.set(folder, [...(map.get(folder) ?? []), file]);
    }
    return [...map].toSorted(([a], [b]) => a.localeCompare(b));
  }, [files]);
  return (
    <nav aria-label={t.diff.tree} className="sticky top-3 hidden max-h-[80vh] w-56 shrink-0 overflow-y-auto rounded-lg border border-line bg-panel p-1.5 lg:block">
      {folders.map(([folder, members]) => (
        <div key={folder} className="mb-1">
          {folder ? <p className="truncate px-1.5 py-0.5 font-mono text-[11.5px] text-faint" title={folder}>{folder}/</p> : null}
          <ul>
            {members.map((file) => {
              const noted = comments.filter((comment) => comment.path === file.path).length;
              return (
                <li key={file.path}>
                  <a href={`#${anchorOf(file.path)}`} className={clsx("flex items-center gap-1.5 rounded px-1.5 py-1 hover:bg-hover", folder && "pl-3")}
                    onClick={(event) => {
                      event.preventDefault();
                      const section = document.getElementById(anchorOf(file.path));
                      section?.scrollIntoView({ block: "start" });
                      section?.querySelector<HTMLElement>("button")?.focus({ preventScroll: true });
                    }}>
                    <FileIcon status={file.status} />
                    <span className="min-w-0 flex-1 truncate" title={file.path}>{file.path.split("/").pop()}</span>
                    {noted > 0 ? <span className="rounded bg-accent-wash px-1 text-2xs text-accent">{noted}</span> : null}
                    <Delta additions={file.additions} deletions={file.deletions} />
                  </a>
                </li>
              );
            })}
          </ul>
        </div>
      ))}
    </nav>
  );
}

type FileProps = { file: FileDiff; view: ViewType; sent: LineComment[]; review?: DiffViewerProps["review"] };

function FileSection({ file, view, sent, review }: FileProps) {
  const [open, setOpen] = useState(file.additions + file.deletions <= FOLD_ABOVE_LINES);
  const hunks = useMemo(() => hunksOf(file.patch), [file.patch]);
  return (
    <section id={anchorOf(file.path)} aria-label={file.path} className="scroll-mt-3 overflow-hidden rounded-lg border border-line bg-panel">
      <h3 className="flex items-center gap-2 border-b border-line bg-raised px-2 py-1">
        <button type="button" aria-expanded={open} onClick={() => setOpen(!open)} className="flex min-w-0 flex-1 items-center gap-2 text-left -outline-offset-1">
          {open ? <ChevronDown size={14} aria-hidden="true" /> : <ChevronRight size={14} aria-hidden="true" />}
          <FileIcon status={file.status} />
          <span className="min-w-0 truncate font-mono text-[12px]">
            {file.old_path && file.old_path !== file.path ? `${file.old_path} → ` : ""}{file.path}
          </span>
        </button>
        <Delta additions={file.additions} deletions={file.deletions} />
      </h3>
      {open ? <FileBody file={file} hunks={hunks} view={view} sent={sent} {...(review ? { review } : {})} /> : null}
    </section>
  );
}

function FileBody({ file, hunks, view, sent, review }: FileProps & { hunks: HunkData[] }) {
  if (file.binary) return <p className="p-3 text-soft">{t.diff.binary}</p>;
  if (hunks.length === 0) return <p className="p-3 text-soft">{t.diff.noText}</p>;
  return (
    <>
      <FileLines file={file} hunks={hunks} view={view} sent={sent} {...(review ? { review } : {})} />
      {file.truncated ? <p className="border-t border-line p-3 text-warn">{t.diff.truncated}</p> : null}
    </>
  );
}

const NO_WIDGETS: Record<string, ReactNode> = {};

const FileLines = memo(function FileLines({ file, hunks, view, sent, review }: FileProps & { hunks: HunkData[] }) {
  const tokens = useMemo(() => tokensOf(hunks, languageOf(file.path)), [hunks, file.path]);
  const table = useRef<HTMLDivElement>(null);
  const widgets = useMemo(() => widgetsFor(file.path, hunks, sent, review), [file.path, hunks, sent, review]);
  const first = hunks[0]?.changes[0];
  const gutter = ({ change, side, renderDefault }: GutterOptions) => {
    if (!review) return renderDefault();
    const ref = lineOf(change);
    if (ref.side !== side) return renderDefault();
    return (
      <button
        type="button"
        data-line={`${ref.side}:${ref.line}`}
        tabIndex={change === first ? 0 : -1}
        aria-label={t.diff.commentOn(ref.line, ref.side)}
        onClick={() => review.dispatch({ type: "open", path: file.path, ...ref })}
        className="group/line relative w-full text-right text-inherit -outline-offset-1"
      >
        {renderDefault()}
        <Plus size={13} aria-hidden="true" className="absolute top-0.5 -left-1 rounded bg-accent-fill text-white opacity-0 group-hover/line:opacity-100 group-focus-visible/line:opacity-100" />
      </button>
    );
  };
  return (
    // oxlint-disable-next-line jsx-a11y/no-static-element-interactions -- arrow keys rove over the line buttons inside
    <div ref={table} onKeyDown={(event) => rove(event, table.current)} className="overflow-x-auto">
      <Diff viewType={view} diffType={diffType(file)} hunks={hunks} tokens={tokens} widgets={widgets} renderGutter={gutter} />
    </div>
  );
});

function diffType(file: FileDiff) {
  return ({ added: "add", deleted: "delete", renamed: "rename", modified: "modify" } as const)[file.status] ?? "modify";
}

/** One tab stop per file: arrow keys move between its lines, Enter opens the comment. */
function rove(event: KeyboardEvent, container: HTMLElement | null): void {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const target = event.target as HTMLElement;
  if (!container || target.dataset["line"] === undefined) return;
  const buttons = [...container.querySelectorAll<HTMLElement>("button[data-line]")];
  const next = buttons[buttons.indexOf(target) + (event.key === "ArrowDown" ? 1 : -1)];
  if (!next) return;
  event.preventDefault();
  target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function widgetsFor(path: string, hunks: HunkData[], sent: LineComment[], review: DiffViewerProps["review"]): Record<string, ReactNode> {
  const places = new Map<string, { change: ChangeData; sent: LineComment[]; draft: LineComment | null; editing: boolean }>();
  const at = (comment: { side: "old" | "new"; line: number }) => {
    const change = changeAt(hunks, comment);
    if (!change) return null;
    const key = keyOf(change);
    const place = places.get(key) ?? { change, sent: [], draft: null, editing: false };
    places.set(key, place);
    return place;
  };
  for (const comment of sent) if (comment.path === path) at(comment)?.sent.push(comment);
  for (const comment of review?.state.comments ?? []) {
    const place = comment.path === path ? at(comment) : null;
    if (place) place.draft = comment;
  }
  const editing = review?.state.editing;
  if (editing?.path === path) {
    const place = at(editing);
    if (place) place.editing = true;
  }
  if (places.size === 0) return NO_WIDGETS;
  return Object.fromEntries([...places].map(([key, place]) => [key, <Thread key={key} path={path} place={place} review={review} />]));
}

function Thread({ path, place, review }: {
  path: string;
  place: { change: ChangeData; sent: LineComment[]; draft: LineComment | null; editing: boolean };
  review: DiffViewerProps["review"];
}) {
  const ref = lineOf(place.change);
  const dispatch = review?.dispatch;
  return (
    <div className="flex flex-col gap-2 border-y border-line bg-canvas p-2 font-sans whitespace-normal *:max-w-3xl">
      {place.sent.map((comment, index) => (
        <p key={`${comment.line}-${index}`} className="rounded-md border border-line bg-panel px-2.5 py-1.5 whitespace-pre-wrap">{comment.body}</p>
      ))}
      {place.editing && dispatch ? (
        <Editor path={path} place={ref} initial={place.draft?.body ?? ""} dispatch={dispatch} />
      ) : place.draft && dispatch ? (
        <div className="rounded-md border border-accent/50 bg-panel px-2.5 py-1.5">
          <p className="whitespace-pre-wrap">{place.draft.body}</p>
          <div className="mt-1 flex items-center gap-1 text-[12px]">
            <span className="text-accent">{t.diff.draft}</span>
            <Button tone="ghost" className="ml-auto" onClick={() => dispatch({ type: "open", path, ...ref })}>{t.common.edit}</Button>
            <Button tone="ghost" onClick={() => dispatch({ type: "remove", path, ...ref })}>{t.common.remove}</Button>
          </div>
        </div>
      ) : null}
    </div>
  );
}

function Editor({ path, place, initial, dispatch }: { path: string; place: { side: "old" | "new"; line: number }; initial: string; dispatch: Dispatch<ReviewAction> }) {
  const [body, setBody] = useState(initial);
  const root = useRef<HTMLFormElement>(null);
  const leave = () => {
    // Focus goes back to the line, so that a keyboard user goes on where they were.
    const line = root.current?.closest("table")?.querySelector<HTMLElement>(`button[data-line="${place.side}:${place.line}"]`);
    requestAnimationFrame(() => line?.focus());
  };
  const save = () => {
    dispatch({ type: "save", path, ...place, body });
    leave();
  };
  const close = () => {
    dispatch({ type: "close" });
    leave();
  };
  return (
    <form ref={root} className="flex flex-col gap-1.5" onSubmit={(event) => { event.preventDefault(); save(); }}>
      <textarea
        autoFocus
        aria-label={t.diff.commentOn(place.line, place.side)}
        value={body}
        placeholder={t.diff.placeholder}
        onChange={(event) => setBody(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") close();
          if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) save();
        }}
        className="field min-h-16"
      />
      <div className="flex flex-wrap items-center gap-1.5">
        <Button type="submit" tone="primary" disabled={!body.trim() && !initial} hint="Ctrl ↵"><MessageSquarePlus size={14} aria-hidden="true" />{t.diff.add}</Button>
        <Button tone="ghost" onClick={close}>{t.common.cancel}</Button>
        <span className="text-[12px] text-soft">{t.diff.together}</span>
      </div>
    </form>
  );
}

