import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Inbox as InboxIcon } from "lucide-react";
import { useRef, useState } from "react";
import { useDecision } from "../api/actions";
import type { Approval, Outcome, Project } from "../api/types";
import { saveNote } from "../approval/note";
import { t } from "../i18n/en";
import { useShortcuts } from "../keyboard";
import { can } from "../shell/project";
import { Button, Kbd, buttonClass } from "../ui/button";
import { EmptyState } from "../ui/feedback";
import { FilterSelect } from "../ui/form";
import { labelOf } from "../ui/status";
import { ApprovalRow } from "./ApprovalRow";
import { BulkBar, useBulkApprove } from "./bulk";
import { Section } from "./Section";
import { inOrder, moved, toggled, withAnswered } from "./selection";

function Filters({ projects }: { projects: Project[] }) {
  const search = useSearch({ from: "/app/inbox" });
  const navigate = useNavigate({ from: "/inbox" });
  const set = (name: "lane" | "category" | "project" | "show") => (value: string) =>
    void navigate({ search: (known) => ({ ...known, [name]: value || undefined }), replace: true });
  const options = (values: string[], all: string) => [{ value: "", label: all }, ...values.map((value) => ({ value, label: labelOf(value) }))];
  return (
    <>
      <FilterSelect label={t.inbox.show} value={search.show ?? ""} onChange={set("show")} options={[{ value: "", label: t.inbox.pending }, { value: "decided", label: t.inbox.decided }]} />
      <FilterSelect label={t.inbox.lane} value={search.lane ?? ""} onChange={set("lane")} options={options(["critical", "milestone", "routine"], `${t.inbox.lane}: ${t.common.all}`)} />
      <FilterSelect label={t.inbox.category} value={search.category ?? ""} onChange={set("category")} options={options(["critical", "milestone", "routine", "uncertainty", "expertise"], `${t.inbox.category}: ${t.common.all}`)} />
      {projects.length > 1 ? <FilterSelect label={t.inbox.project} value={search.project ?? ""} onChange={set("project")} options={[{ value: "", label: `${t.inbox.project}: ${t.common.all}` }, ...projects.map((item) => ({ value: item.id, label: item.name }))]} /> : null}
    </>
  );
}

/** How many rows say how large their change is: each is read for it. */
const SIZED_ROWS = 15;

/** The focus goes to a row, or to the page when the last one is gone. */
function focusRow(id: string | null): void {
  const row = id === null ? null : document.querySelector<HTMLElement>(`[data-approval="${id}"] a`);
  (row ?? document.querySelector<HTMLElement>("#content"))?.focus();
}

export function Approvals({ items: listed, total, unresolved, projects }: { items: Approval[]; total: number; unresolved: number; projects: Project[] }) {
  const navigate = useNavigate({ from: "/inbox" });
  const search = useSearch({ from: "/app/inbox" });
  const [cursor, setCursor] = useState<string | null>(null);
  const [answer, setAnswer] = useState<{ item: Approval; outcome: Outcome } | null>(null);
  const [selection, setSelection] = useState<ReadonlySet<string>>(new Set());
  const [bulkNote, setBulkNote] = useState("");
  const bulkButton = useRef<HTMLButtonElement>(null);
  const byId = new Map(projects.map((project) => [project.id, project]));
  const may = (item: Approval) => !byId.has(item.project_id) || can(byId.get(item.project_id)?.role, "decide");
  // A row whose answer is being written stays, also when somebody else was quicker: the words are not thrown away.
  const items = inOrder(withAnswered(listed, answer?.item ?? null));
  const ids = items.map((item) => item.id);
  const current = items.find((item) => item.id === cursor) ?? items[0] ?? null;
  const pendingItems = items.filter((item) => item.state === "pending" && may(item));
  const selected = pendingItems.filter((item) => selection.has(item.id));

  const decision = useDecision((approval) => {
    const index = ids.indexOf(approval.id);
    const next = ids[index + 1] ?? ids[index - 1] ?? null;
    saveNote(approval.id, "");
    setAnswer(null);
    setCursor(next);
    requestAnimationFrame(() => focusRow(next));
  });
  const open = (outcome: Outcome, item: Approval | null = current) => {
    if (!item || item.state !== "pending" || !may(item) || decision.isPending) return;
    setCursor(item.id);
    setAnswer({ item, outcome });
  };
  const close = (item: Approval) => {
    setAnswer(null);
    requestAnimationFrame(() => focusRow(item.id));
  };
  const step = (by: 1 | -1) => () => {
    const next = moved(ids, cursor, by);
    setCursor(next);
    if (!decision.isPending) setAnswer(null);
    if (next !== null) focusRow(next);
  };
  const bulk = useBulkApprove((failed) => {
    setSelection(new Set(failed.map((item) => item.id)));
    if (failed.length === 0) setBulkNote("");
  });
  const key = (keyName: string, label: string, run: () => void) => ({ keys: keyName, label, group: t.groups.inbox, run });
  const openDetail = () => void (current && navigate({ to: "/projects/$projectId/approvals/$approvalId", params: { projectId: current.project_id, approvalId: current.id } }));
  useShortcuts([
    key("j", t.keys.next, step(1)),
    key("k", t.keys.previous, step(-1)),
    key("enter", t.keys.open, openDetail),
    key("o", t.keys.open, openDetail),
    key("a", t.keys.approve, () => open("approved")),
    key("c", t.keys.changes, () => open("changes_requested")),
    key("d", t.keys.reject, () => open("rejected")),
    key("x", t.keys.select, () => current && setSelection(toggled(selection, current.id))),
    // The key leads to the button; Enter decides, with the reason that was typed.
    key("shift+a", t.keys.approveSelected, () => bulkButton.current?.focus()),
  ]);
  const filtered = Boolean(search.lane || search.category || search.project || search.show);
  return (
    <Section title={t.inbox.approvals} count={search.show === "decided" ? total : unresolved} icon={<InboxIcon size={15} />} tools={<Filters projects={projects} />}>
      {selected.length > 0 || bulk.progress ? (
        <BulkBar selected={selected} matching={pendingItems} note={bulkNote} onNote={setBulkNote} progress={bulk.progress} approve={bulkButton} onAll={() => setSelection(new Set(pendingItems.map((item) => item.id)))} onClear={() => setSelection(new Set())} onApprove={() => void bulk.run(selected, bulkNote)} />
      ) : null}
      {items.length === 0 ? (
        filtered ? (
          <EmptyState title={t.inbox.filteredEmpty} action={<Button onClick={() => void navigate({ search: {} })}>{t.common.clearFilters}</Button>} />
        ) : (
          <EmptyState icon={<InboxIcon size={28} aria-hidden="true" />} title={t.inbox.empty} detail={t.inbox.emptyDetail} action={<Link to="/projects" className={buttonClass("primary")}>{t.inbox.emptyAction}</Link>} />
        )
      ) : (
        <>
          <ul aria-label={t.inbox.approvals}>
            {items.map((item, index) => (
              <ApprovalRow
                key={item.id}
                item={item}
                threshold={byId.get(item.project_id)?.confidence_threshold}
                current={item.id === cursor}
                reachable={item.id === current?.id}
                sized={index < SIZED_ROWS}
                selected={selection.has(item.id)}
                answering={answer?.item.id === item.id ? answer.outcome : null}
                gone={!listed.some((other) => other.id === item.id && other.state === "pending")}
                busy={decision.isPending}
                mayDecide={may(item)}
                onFocus={() => setCursor(item.id)}
                onSelect={() => setSelection(toggled(selection, item.id))}
                onAnswer={(outcome) => (outcome === null ? close(item) : open(outcome, item))}
                onSend={(outcome, note) => decision.mutate({ approval: item, outcome, note })}
              />
            ))}
          </ul>
          <p className="hidden flex-wrap items-center gap-x-4 gap-y-1 border-t border-line px-4 py-1.5 text-xs text-faint md:flex" aria-hidden="true">
            {t.inbox.keysLine.map(([keyName, what]) => <span key={keyName} className="inline-flex items-center gap-1.5"><Kbd keys={keyName} />{what}</span>)}
          </p>
        </>
      )}
    </Section>
  );
}
