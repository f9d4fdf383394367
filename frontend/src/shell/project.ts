import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import * as queries from "../api/queries";
import type { Me, Membership, Project } from "../api/types";

/** The project the rail speaks of: the one on screen, else the last one visited, else the first. */

const KEY = "syndarix-project";

export function rememberProject(id: string): void {
  try {
    localStorage.setItem(KEY, id);
  } catch {
    // Without storage the first project is shown next time.
  }
}

export function pickProject(projects: Project[], shown: string | undefined, last: string | null): Project | null {
  return projects.find((item) => item.id === shown) ?? projects.find((item) => item.id === last) ?? projects[0] ?? null;
}

export function useCurrentProject(): Project | null {
  const { projectId } = useParams({ strict: false });
  const list = useQuery(queries.projects());
  let last: string | null = null;
  try {
    last = localStorage.getItem(KEY);
  } catch {
    // See above.
  }
  return pickProject(list.data ?? [], projectId, last);
}

/** Who manages an organisation, its money and its models. */
const MANAGERS = new Set(["owner", "admin"]);

/** The organisations that a person manages. */
export function managed(me: Me): Membership[] {
  return me.organisations.filter((one) => MANAGERS.has(one.role));
}

/** May this member answer approvals, write, or administer? Unknown roles may only read. */
export function can(role: string | undefined, what: "decide" | "write" | "administer"): boolean {
  const rank: Record<string, number> = { viewer: 0, approver: 1, editor: 2, admin: 3, owner: 3 };
  const needed = { decide: 1, write: 2, administer: 3 }[what];
  return (rank[role ?? ""] ?? 0) >= needed;
}
