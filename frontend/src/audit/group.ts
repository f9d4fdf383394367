import type { AuditEntry } from "../api/types";

/** What an agent does step by step: a run writes dozens of these, and they say one thing together. */
const STEP = /^(run\.(step|model_call|tool_call)_|cost\.recorded$)/;
/** Two in a row are no noise. */
const MIN_GROUP = 3;

export type Row = { kind: "entry"; entry: AuditEntry } | { kind: "steps"; id: string; entries: AuditEntry[] };

export function isStep(entry: Pick<AuditEntry, "type">): boolean {
  return STEP.test(entry.type);
}

/** Steps of one actor that stand together become one row. Their order stays as it is. */
export function grouped(entries: AuditEntry[]): Row[] {
  const rows: Row[] = [];
  let run: AuditEntry[] = [];
  const close = () => {
    const first = run[0];
    if (first && run.length >= MIN_GROUP) rows.push({ kind: "steps", id: `steps-${first.id}`, entries: run });
    else rows.push(...run.map((entry): Row => ({ kind: "entry", entry })));
    run = [];
  };
  for (const entry of entries) {
    const last = run[0];
    // What a step costs is written by the system in the agent's midst.
    const same = last === undefined || entry.actor.type === "system" || last.actor.type === "system" || last.actor.id === entry.actor.id;
    if (!isStep(entry) || !same) close();
    if (isStep(entry)) run.push(entry);
    else rows.push({ kind: "entry", entry });
  }
  close();
  return rows;
}
