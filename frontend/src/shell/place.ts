/** Where one is: which entry of the navigation a path belongs to. */

export type Section = "inbox" | "projects" | "jobs" | "board" | "agents" | "costs" | "gateway" | "activity" | "audit" | "settings";

const IN_PROJECT: Record<string, Section> = {
  stories: "board", runs: "board", approvals: "inbox", agents: "agents", costs: "costs", gateway: "gateway", activity: "activity", audit: "audit", settings: "settings",
};

/** A story and its runs belong to the board, a question to the inbox. */
export function sectionOf(pathname: string): Section | null {
  const [first, project, page] = pathname.split("/").filter(Boolean);
  if (first === "inbox" || first === "approvals") return "inbox";
  if (first === "jobs") return "jobs";
  // Of all projects: the rail's own costs and gateway are those of one.
  if (first === "costs" || first === "models") return "projects";
  if (first !== "projects") return null;
  if (!project) return "projects";
  return page === undefined ? "board" : (IN_PROJECT[page] ?? null);
}
