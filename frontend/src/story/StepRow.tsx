import { clsx } from "clsx";
import { ChevronRight, Cpu, FileText, GitBranch, GitCommitHorizontal, Search, Terminal, Wrench, type LucideIcon } from "lucide-react";
import type { ReactNode } from "react";
import type { Step } from "../api/types";
import { compact, duration, money } from "../format";
import { t } from "../i18n/en";
import { Delta } from "../ui/delta";
import { Json } from "../ui/entity";
import { Notice } from "../ui/feedback";
import { Status } from "../ui/status";

const ICONS: [RegExp, LucideIcon][] = [
  [/commit/, GitCommitHorizontal], [/branch|merge|pull/, GitBranch], [/search|grep|find|list/, Search], [/read|write|file|edit/, FileText], [/run|exec|shell|test/, Terminal],
];

export function StepIcon({ step, size = 14 }: { step: Pick<Step, "kind" | "name">; size?: number }) {
  const Icon = step.kind === "model" ? Cpu : (ICONS.find(([pattern]) => pattern.test(step.name))?.[1] ?? Wrench);
  return <Icon size={size} role="img" aria-label={step.kind === "model" ? t.run.model : t.run.tool} className="shrink-0 text-faint" />;
}

/** One step on one line: icon, tool, target, +n −m, duration, cost. Opens to its input and output. */
export function StepRow({ step, actions }: { step: Step; actions?: ReactNode }) {
  return (
    <details className="group/step border-b border-line last:border-b-0" data-step={step.number}>
      <summary className="flex list-none items-center gap-2 px-3 py-1.5 hover:bg-hover [&::-webkit-details-marker]:hidden">
        <ChevronRight size={13} aria-hidden="true" className="shrink-0 text-faint group-open/step:rotate-90" />
        <StepIcon step={step} />
        <span className="shrink-0 font-mono text-xs">{step.name}</span>
        <span className="min-w-0 flex-1 truncate text-soft">{step.target}</span>
        {step.attempt > 1 ? <span className="shrink-0 text-xs text-warn">{t.story.attempt(step.attempt)}</span> : null}
        {step.additions || step.deletions ? <Delta additions={step.additions ?? 0} deletions={step.deletions ?? 0} /> : null}
        {step.status === "done" ? null : <Status value={step.status} />}
        <StepNumbers step={step} />
      </summary>
      <StepBody step={step} actions={actions} />
    </details>
  );
}

function StepNumbers({ step }: { step: Step }) {
  const priced = step.cost_micro_usd > 0;
  return (
    <span className="hidden shrink-0 items-center gap-3 text-right text-xs text-soft tabular sm:flex">
      {step.tokens_in || step.tokens_out ? <span>{t.story.tokenCount(compact((step.tokens_in ?? 0) + (step.tokens_out ?? 0)))}</span> : null}
      <span className="w-14">{step.duration_ms === null || step.duration_ms === undefined ? "" : duration(step.duration_ms)}</span>
      <span className={clsx("w-20", step.simulated && "text-faint italic")} title={step.simulated && priced ? t.cost.simulatedHelp : undefined}>{priced ? (step.simulated ? `~${money(step.cost_micro_usd)}` : money(step.cost_micro_usd)) : ""}</span>
    </span>
  );
}

export function StepBody({ step, actions }: { step: Step; actions?: ReactNode }) {
  const problem = t.run.status[step.status];
  return (
    <div className="flex flex-col gap-2.5 px-3 pt-1 pb-3 sm:pl-9">
      {step.error ? <Notice tone="bad">{step.error}</Notice> : null}
      {problem ? <Notice tone="warn">{problem}</Notice> : null}
      <div className="grid gap-2.5 lg:grid-cols-2">
        {step.input === undefined || step.input === null ? null : <div className="min-w-0"><h4 className="mb-1 text-xs font-medium text-soft">{t.story.input}</h4><Json value={step.input} label={t.story.input} /></div>}
        {step.output === undefined || step.output === null ? null : <div className="min-w-0"><h4 className="mb-1 text-xs font-medium text-soft">{t.story.output}</h4><Json value={step.output} label={t.story.output} /></div>}
      </div>
      {actions ? <div className="flex flex-wrap items-center gap-2">{actions}</div> : null}
    </div>
  );
}
