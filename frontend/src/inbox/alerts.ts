import type { Job, Project, Run, Story, SystemInfo } from "../api/types";
import { unpolled } from "../jobs/unpolled";
import { budgetFraction } from "../ui/entity";

/** What the inbox calls an alert, and what stale work is: pure functions of what is loaded. */

export type Alert =
  | { kind: "budget"; key: string; project: Project; fraction: number }
  | { kind: "import_failed"; key: string; project: Project }
  | { kind: "run"; key: string; project: Project; run: Run; state: "stalled" | "failed" | "parked" }
  | { kind: "dead_letter"; key: string; job: Job }
  | { kind: "queue"; key: string; queue: string; depth: number };

/** The first budget threshold of which people are told. */
export const BUDGET_ALERT_AT = 0.8;
/** No event for a day on started work: someone should look. */
export const STALE_AFTER_MS = 24 * 60 * 60 * 1_000;
/** A failed run is news for a day; then the story shows it. */
const FAILED_NEWS_MS = 24 * 60 * 60 * 1_000;
const MAX_PER_KIND = 20;

export function projectAlerts(projects: Project[]): Alert[] {
  const alerts: Alert[] = [];
  for (const project of projects) {
    const fraction = budgetFraction(project.budget);
    if (fraction !== null && fraction >= BUDGET_ALERT_AT) alerts.push({ kind: "budget", key: `budget:${project.id}`, project, fraction });
    if (project.repository.state === "failed") alerts.push({ kind: "import_failed", key: `import:${project.id}`, project });
  }
  return alerts;
}

export function runAlerts(project: Project, runs: Run[], now: number): Alert[] {
  const alerts: Alert[] = [];
  for (const run of runs) {
    const recent = now - Date.parse(run.ended_at ?? run.started_at) < FAILED_NEWS_MS;
    const state =
      run.state === "stalled" ? "stalled"
      : run.state === "failed" && recent ? "failed"
      : run.state === "waiting" && run.waiting?.on === "budget" ? "parked"
      : null;
    if (state) alerts.push({ kind: "run", key: `run:${run.id}`, project, run, state });
  }
  return alerts.slice(0, MAX_PER_KIND);
}

export function jobAlerts(jobs: Job[]): Alert[] {
  return jobs.slice(0, MAX_PER_KIND).map((job) => ({ kind: "dead_letter", key: `job:${job.id}`, job }));
}

export function queueAlerts(system: SystemInfo | undefined): Alert[] {
  return unpolled(system?.queues ?? [])
    .map((queue) => ({ kind: "queue", key: `queue:${queue.queue}`, queue: queue.queue, depth: queue.depth }));
}

export interface StaleItem {
  project: Project;
  story: Story;
  why: "blocked" | "overdue" | "idle";
}

export function staleWork(project: Project, stories: Story[], now: number): StaleItem[] {
  const items: StaleItem[] = [];
  for (const story of stories) {
    if (!story.started || story.phase === "done" || story.phase === "cancelled") continue;
    const overdue = story.deadline !== null && story.deadline !== undefined && Date.parse(story.deadline) < now;
    const idle = now - Date.parse(story.updated_at) > STALE_AFTER_MS;
    const why = story.phase === "blocked" ? "blocked" : overdue ? "overdue" : idle ? "idle" : null;
    if (why) items.push({ project, story, why });
  }
  return items.toSorted((a, b) => Date.parse(a.story.updated_at) - Date.parse(b.story.updated_at)).slice(0, MAX_PER_KIND);
}
