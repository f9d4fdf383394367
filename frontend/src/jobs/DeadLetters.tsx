import { clsx } from "clsx";
import { MailX, RotateCcw, Trash2 } from "lucide-react";
import { useState } from "react";
import type { Job, Project } from "../api/types";
import { dateTime } from "../format";
import { t } from "../i18n/en";
import { moved, toggled } from "../inbox/selection";
import { useShortcuts } from "../keyboard";
import { Button, Kbd } from "../ui/button";
import { Disclosure } from "../ui/disclosure";
import { EmptyState } from "../ui/feedback";
import { Badge } from "../ui/status";
import { Ago } from "../ui/time";
import { Confirm, type Asking } from "./Confirm";
import { RunLink, projectName } from "./tables";
import { useSettle, type Settlement } from "./settle";

/** The focus goes to a letter, or to the page when the last one is gone. */
function focusLetter(id: string | null): void {
  const letter = id === null ? null : document.querySelector<HTMLElement>(`[data-job="${id}"] summary`);
  (letter ?? document.querySelector<HTMLElement>("#content"))?.focus();
}

/** Jobs that gave up. A key leads to the question; only its button decides. */
export function DeadLetters({ letters, projects }: { letters: Job[]; projects: Project[] }) {
  const [cursor, setCursor] = useState<string | null>(null);
  const [selection, setSelection] = useState<ReadonlySet<string>>(new Set());
  const [asking, setAsking] = useState<Asking | null>(null);
  const ids = letters.map((job) => job.id);
  const current = letters.find((job) => job.id === cursor) ?? letters[0];
  const mine = letters.filter((job) => job.may_settle);
  const selected = mine.filter((job) => selection.has(job.id));
  const settling = useSettle((left) => {
    setSelection(new Set(left.map((job) => job.id)));
    requestAnimationFrame(() => focusLetter(null));
  });
  const ask = (what: Settlement, jobs: Job[]) => {
    const allowed = jobs.filter((job) => job.may_settle);
    if (allowed.length > 0 && settling.progress === null) setAsking({ what, jobs: allowed });
  };
  const close = () => {
    setAsking(null);
    requestAnimationFrame(() => focusLetter(cursor));
  };
  const step = (by: 1 | -1) => () => {
    const next = moved(ids, cursor, by);
    setCursor(next);
    if (next !== null) focusLetter(next);
  };
  const key = (keys: string, label: string, run: () => void) => ({ keys, label, group: t.groups.list, run });
  useShortcuts([
    key("j", t.keys.next, step(1)),
    key("k", t.keys.previous, step(-1)),
    key("x", t.keys.select, () => { if (current?.may_settle) setSelection(toggled(selection, current.id)); }),
    key("r", t.jobs.keys.redrive, () => ask("redrive", current ? [current] : [])),
    key("p", t.jobs.keys.purge, () => ask("purge", current ? [current] : [])),
    key("shift+r", t.jobs.keys.many, () => ask("redrive", selected)),
  ]);
  if (letters.length === 0) return <div className="card"><EmptyState icon={<MailX size={28} aria-hidden="true" />} title={t.jobs.noneDead} detail={t.jobs.noneDeadDetail} /></div>;
  return (
    <div className="card overflow-hidden">
      {selected.length > 0 || settling.progress ? (
        <div role="region" aria-label={t.jobs.selected(selected.length)} className="flex flex-wrap items-center gap-2 border-b border-line bg-accent-wash px-3 py-2">
          <span className="font-medium text-accent">{t.jobs.selected(selected.length)}</span>
          {selected.length < mine.length ? <Button tone="ghost" onClick={() => setSelection(new Set(mine.map((job) => job.id)))}>{t.jobs.selectAll(mine.length)}</Button> : null}
          <Button tone="ghost" onClick={() => setSelection(new Set())}>{t.jobs.clear}</Button>
          <span className="ml-auto flex items-center gap-1.5">
            {settling.progress ? <span role="status" className="text-soft">{t.jobs.progress(settling.progress.done, settling.progress.all)}</span> : null}
            <Button tone="primary" busy={settling.progress !== null} hint="⇧R" onClick={() => ask("redrive", selected)}><RotateCcw size={13} aria-hidden="true" />{t.jobs.redrive}</Button>
            <Button tone="danger" busy={settling.progress !== null} onClick={() => ask("purge", selected)}><Trash2 size={13} aria-hidden="true" />{t.jobs.purge}</Button>
          </span>
        </div>
      ) : null}
      <ul aria-label={t.jobs.tabs.dead} className="divide-y divide-line">
        {letters.map((job) => (
          <Letter key={job.id} job={job} project={projectName(projects, job)} current={job.id === cursor} selected={selection.has(job.id)} busy={settling.progress !== null}
            onFocus={() => setCursor(job.id)} onSelect={() => setSelection(toggled(selection, job.id))} onAsk={(what) => ask(what, [job])} />
        ))}
      </ul>
      <p className="hidden flex-wrap items-center gap-x-4 gap-y-1 border-t border-line px-4 py-1.5 text-xs text-faint md:flex" aria-hidden="true">
        {t.jobs.keysLine.map(([keyName, what]) => <span key={keyName} className="inline-flex items-center gap-1.5"><Kbd keys={keyName} />{what}</span>)}
      </p>
      <Confirm asking={asking} onClose={close} onConfirm={({ what, jobs }, reason) => { setAsking(null); void settling.run(what, jobs, reason); }} />
    </div>
  );
}

function Letter({ job, project, current, selected, busy, onFocus, onSelect, onAsk }: {
  job: Job;
  project: string | undefined;
  current: boolean;
  selected: boolean;
  busy: boolean;
  onFocus: () => void;
  onSelect: () => void;
  onAsk: (what: Settlement) => void;
}) {
  return (
    <li data-job={job.id} onFocus={onFocus} className={clsx("flex items-start gap-2 px-3 py-1.5 max-sm:flex-wrap", current && "bg-hover", selected && "bg-accent-wash")}>
      {job.may_settle ? <input type="checkbox" aria-label={t.jobs.select(job.kind, job.id)} checked={selected} onChange={onSelect} className="mt-1.5 size-4 shrink-0 accent-(--c-accent)" /> : null}
      <Disclosure
        className="min-w-0 flex-1"
        summaryClass="flex-wrap gap-x-2.5 gap-y-0.5 rounded py-0.5"
        summary={<>
          <Badge>{job.queue}</Badge>
          <span className="font-mono text-xs">{job.kind}</span>
          <span className="min-w-40 flex-1 truncate text-bad">{job.last_error}</span>
          {project ? <span className="text-soft">{project}</span> : null}
          {job.died_at ? <Ago at={job.died_at} className="text-xs text-soft" /> : null}
        </>}
      >
        <Errors job={job} />
      </Disclosure>
      {job.may_settle ? (
        <span className="flex shrink-0 gap-1 max-sm:w-full max-sm:pl-6">
          <Button disabled={busy} aria-label={`${t.jobs.redrive}: ${job.kind}, ${job.id}`} onClick={() => onAsk("redrive")}><RotateCcw size={13} aria-hidden="true" />{t.jobs.redrive}</Button>
          <Button tone="ghost" disabled={busy} aria-label={`${t.jobs.purge}: ${job.kind}, ${job.id}`} onClick={() => onAsk("purge")}><Trash2 size={13} aria-hidden="true" />{t.jobs.purge}</Button>
        </span>
      ) : null}
    </li>
  );
}

function Errors({ job }: { job: Job }) {
  return (
    <div className="flex flex-col gap-2 py-2 pl-4">
      <p className="break-words">{job.last_error}</p>
      <p className="flex flex-wrap gap-x-3 text-xs text-soft tabular">
        <span>{t.jobs.attempt} {t.jobs.attempts(job.attempts, job.max_attempts)}</span>
        {job.died_at ? <span>{t.jobs.died} {dateTime(job.died_at)}</span> : null}
        {job.run_id ? <RunLink job={job}>{t.jobs.run}</RunLink> : null}
        {job.may_settle ? null : <span>{t.jobs.mayNot}</span>}
      </p>
      <h3 className="text-xs font-medium text-soft">{t.jobs.errors}</h3>
      {job.errors.length === 0 ? <p className="text-soft">{t.jobs.noErrors}</p> : (
        <ol className="divide-y divide-line rounded-md border border-line">
          {job.errors.toReversed().map((error) => (
            <li key={`${error.attempt}-${error.at}`} className="flex flex-wrap gap-x-3 px-2.5 py-1.5">
              <span className="w-20 shrink-0 text-xs text-soft">{t.jobs.failedAt(error.attempt)}</span>
              <time dateTime={error.at} className="shrink-0 text-xs text-soft tabular">{dateTime(error.at)}</time>
              <span className="min-w-0 flex-1 basis-60 font-mono text-xs break-words whitespace-pre-wrap">{error.error}</span>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}
