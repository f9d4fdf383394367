import type { AgentType } from "../api/types";

/** What differs between two versions of an agent type, field by field. */

export interface FieldChange {
  field: string;
  before: string;
  after: string;
}

/** Identity, not content. */
const LEFT_OUT = new Set(["id", "version", "created_at", "organisation_id"]);

function shown(value: unknown): string {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.map(shown).join(", ") || "–";
  if (typeof value === "object") return Object.entries(value).map(([name, part]) => `${name} ${shown(part)}`).join(", ");
  return String(value);
}

export function changesBetween(before: AgentType, after: AgentType): FieldChange[] {
  const old = new Map(Object.entries(before));
  const changes: FieldChange[] = [];
  for (const [field, value] of Object.entries(after)) {
    const [was, is] = [shown(old.get(field)), shown(value)];
    if (!LEFT_OUT.has(field) && was !== is) changes.push({ field, before: was, after: is });
  }
  return changes;
}
