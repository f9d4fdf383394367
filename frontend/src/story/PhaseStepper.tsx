import { clsx } from "clsx";
import { Check, Pause } from "lucide-react";
import type { Story } from "../api/types";
import { t } from "../i18n/en";
import { labelOf } from "../ui/status";

const PHASES = ["analysis", "design", "implementation", "review", "testing", "done"] as const;

export function phaseIndex(story: Pick<Story, "phase" | "blocked_from" | "started">): number {
  if (!story.started) return -1;
  const phase = story.phase === "blocked" ? story.blocked_from : story.phase;
  return PHASES.indexOf(phase as (typeof PHASES)[number]);
}

export function PhaseStepper({ story }: { story: Story }) {
  const at = phaseIndex(story);
  const over = story.phase === "done";
  const stopped = story.phase === "blocked" || story.phase === "cancelled";
  return (
    <ol aria-label={t.story.phases} data-phase={story.phase} className="flex min-w-0 flex-wrap items-center gap-1">
      {PHASES.map((phase, index) => {
        const passed = index < at || over;
        const here = index === at && !over;
        return (
          <li key={phase} aria-current={here ? "step" : undefined} className="flex shrink-0 items-center gap-1">
            {index > 0 ? <span aria-hidden="true" className={clsx("h-px w-3 md:w-6", index <= at ? "bg-ok" : "bg-line-strong")} /> : null}
            <span className={clsx("flex items-center gap-1.5 rounded-full border px-2 py-0.5 text-xs",
              passed ? "border-transparent text-ok" : here ? (stopped ? "border-warn/60 bg-warn-wash font-medium text-warn" : "border-accent/50 bg-accent-wash font-medium text-accent") : "border-transparent text-faint")}>
              {passed ? <Check size={13} aria-hidden="true" /> : here && stopped ? <Pause size={12} aria-hidden="true" /> : <span aria-hidden="true" className={clsx("size-1.5 rounded-full", here ? "live-dot bg-accent" : "bg-line-strong")} />}
              {labelOf(phase)}
            </span>
          </li>
        );
      })}
    </ol>
  );
}
