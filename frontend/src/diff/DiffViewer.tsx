import { clsx } from "clsx";
import { ChevronDown, ChevronRight, FilePlus2, FileMinus2, FilePen, FileSymlink, MessageSquarePlus, Plus } from "lucide-react";
import { memo, useEffect, useMemo, useRef, useState, type Dispatch, type KeyboardEvent, type ReactNode } from "react";
import { Diff, type ChangeData, type GutterOptions, type HunkData, type ViewType } from "react-diff-view";
import "react-diff-view/style/index.css";
import "./diff.css";
import type { Diff as DiffData, FileDiff, LineComment } from "../api/types";
import { t } from "../i18n/en";
import { useNarrow } from "../narrow";
import { Button } from "../ui/button";
import { Delta } from "../ui/delta";
import { type PlacedRemark, type ReviewAction, type ReviewState } from "./comments";
import { tokensOf } from "./highlight";
import { changeAt, hunksOf, keyOf, languageOf, lineOf } from "./patch";

/** A diff with a file tree; with `review`, lines can be commented on. */

export interface DiffViewerProps {
  diff: DiffData;
  /** Remarks that were made already, now or in an earlier round. */
  sent?: PlacedRemark[];
  review?: { state: ReviewState; dispatch: Dispatch<ReviewAction> };
}

/** Fewer files are seen at a glance: a list of them would only take the room of the lines. */
const TREE_FROM = 3;
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
  const [wanted, setView] = useState<ViewType>(storedView);
  const narrow = useNarrow();
  const view = narrow ? "unified" : wanted;
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
        <span className="min-w-0 truncate font-mono text-2xs text-soft">{diff.base_branch} ← {diff.head_branch}</span>
        {pending > 0 ? <span className="text-accent">{t.diff.pending(pending)}</span> : null}
        {narrow ? null : (
          <div role="group" aria-label={t.diff.view} className="ml-auto flex overflow-hidden rounded-md border border-line-strong">
            {(["unified", "split"] as const).map((kind) => (
              <button key={kind} type="button" aria-pressed={view === kind} onClick={() => choose(kind)} className={clsx("px-2.5 py-0.5 text-xs -outline-offset-2", view === kind ? "bg-raised font-medium text-ink" : "text-soft hover:text-ink")}>
                {kind === "unified" ? t.diff.unified : t.diff.split}
              </button>
            ))}
          </div>
        )}
      </div>
      <div className="flex items-start gap-4">
        {diff.files.length > TREE_FROM ? <FileTree files={diff.files} comments={review?.state.comments ?? []} /> : null}
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

type FileProps = { file: FileDiff; view: ViewType; sent: PlacedRemark[]; review?: DiffViewerProps["review"] };

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
  const astray = sent.filter((remark) => remark.path === file.path && !changeAt(hunks, remark));
  return (
    <>
      {astray.length > 0 ? <div className="flex flex-col gap-2 border-b border-line bg-canvas p-2">{astray.map((remark, index) => <Said key={index} remark={remark} place={t.diff.elsewhere(remark.line)} />)}</div> : null}
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
        className="group/line relative w-full text-right text-inherit -outline-offset-1 pointer-coarse:min-h-6"
      >
        {renderDefault()}
        <Plus size={13} aria-hidden="true" className="absolute top-0.5 -left-1 rounded bg-accent-fill text-white opacity-0 group-hover/line:opacity-100 group-focus-visible/line:opacity-100 pointer-coarse:top-1.5 pointer-coarse:bg-transparent pointer-coarse:text-accent pointer-coarse:opacity-100" />
      </button>
    );
  };
  return (
    // oxlint-disable-next-line jsx-a11y/no-static-element-interactions -- arrow keys rove over the line buttons inside
    <div ref={table} onKeyDown={(event) => rove(event, table.current)} className={clsx("overflow-x-auto", view === "unified" && { added: "one-gutter-new", deleted: "one-gutter-old" }[file.status as string])}>
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

function widgetsFor(path: string, hunks: HunkData[], sent: PlacedRemark[], review: DiffViewerProps["review"]): Record<string, ReactNode> {
  const places = new Map<string, { change: ChangeData; sent: PlacedRemark[]; draft: LineComment | null; editing: boolean }>();
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
  place: { change: ChangeData; sent: PlacedRemark[]; draft: LineComment | null; editing: boolean };
  review: DiffViewerProps["review"];
}) {
  const ref = lineOf(place.change);
  const dispatch = review?.dispatch;
  return (
    <div className="flex flex-col gap-2 border-y border-line bg-canvas p-2 font-sans whitespace-normal *:max-w-3xl">
      {place.sent.map((remark, index) => <Said key={`${remark.line}-${index}`} remark={remark} />)}
      {place.editing && dispatch ? (
        <Editor path={path} place={ref} initial={place.draft?.body ?? ""} dispatch={dispatch} />
      ) : place.draft && dispatch ? (
        <div className="rounded-md border border-accent/50 bg-panel px-2.5 py-1.5">
          <p className="whitespace-pre-wrap">{place.draft.body}</p>
          <div className="mt-1 flex items-center gap-1 text-xs">
            <span className="text-accent">{t.diff.draft}</span>
            <Button tone="ghost" className="ml-auto" onClick={() => dispatch({ type: "open", path, ...ref })}>{t.common.edit}</Button>
            <Button tone="ghost" onClick={() => dispatch({ type: "remove", path, ...ref })}>{t.common.remove}</Button>
          </div>
        </div>
      ) : null}
    </div>
  );
}

function Said({ remark, place }: { remark: PlacedRemark; place?: string }) {
  const from = [remark.by ? t.diff.earlier(remark.by) : "", place ?? ""].filter(Boolean).join(" · ");
  return (
    <div className="rounded-md border border-line bg-panel px-2.5 py-1.5 font-sans">
      {from ? <p className="text-xs text-soft">{from}</p> : null}
      <p className="whitespace-pre-wrap">{remark.body}</p>
    </div>
  );
}

/** Typing pauses this long before the draft is kept; leaving the editor keeps it at once. */
const KEEP_MS = 400;

function Editor({ path, place, initial, dispatch }: { path: string; place: { side: "old" | "new"; line: number }; initial: string; dispatch: Dispatch<ReviewAction> }) {
  const [body, setBody] = useState(initial);
  const [before] = useState(initial);
  const root = useRef<HTMLFormElement>(null);
  const keep = useRef<() => void>(() => undefined);
  useEffect(() => {
    keep.current = () => dispatch({ type: "write", path, side: place.side, line: place.line, body });
  });
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const type = (text: string) => {
    setBody(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => keep.current(), KEEP_MS);
  };
  const leave = () => {
    // Focus goes back to the line, so that a keyboard user goes on where they were.
    const line = root.current?.closest("table")?.querySelector<HTMLElement>(`button[data-line="${place.side}:${place.line}"]`);
    requestAnimationFrame(() => line?.focus());
  };
  const save = () => {
    dispatch({ type: "save", path, ...place, body });
    leave();
  };
  const cancel = () => {
    dispatch({ type: "save", path, ...place, body: before });
    leave();
  };
  return (
    <form ref={root} className="flex flex-col gap-1.5" onSubmit={(event) => { event.preventDefault(); save(); }}>
      <textarea
        autoFocus
        aria-label={t.diff.commentOn(place.line, place.side)}
        value={body}
        placeholder={t.diff.placeholder}
        onChange={(event) => type(event.target.value)}
        onBlur={() => keep.current()}
        onKeyDown={(event) => {
          if (event.key === "Escape") cancel();
          if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) save();
        }}
        className="field min-h-16 pointer-coarse:text-base"
      />
      <div className="flex flex-wrap items-center gap-1.5">
        <Button type="submit" tone="primary" className="pointer-coarse:h-10" disabled={!body.trim() && !before} hint="Ctrl ↵"><MessageSquarePlus size={14} aria-hidden="true" />{t.diff.add}</Button>
        <Button tone="ghost" className="pointer-coarse:h-10" onClick={cancel}>{t.common.cancel}</Button>
        <span className="text-xs text-soft">{t.diff.together}</span>
      </div>
    </form>
  );
}
