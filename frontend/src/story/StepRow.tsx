import { clsx } from "clsx";
import { Cpu, FileText, GitBranch, GitCommitHorizontal, Search, Terminal, Wrench, type LucideIcon } from "lucide-react";
import type { ReactNode } from "react";
import type { Step } from "../api/types";
import { compact, duration } from "../format";
import { t } from "../i18n/en";
import { Delta } from "../ui/delta";
import { Disclosure } from "../ui/disclosure";
import { Cost, Json } from "../ui/entity";
import { Notice } from "../ui/feedback";
import { Badge, Status } from "../ui/status";
import { heldUp, sayingOf } from "./saying";

const ICONS: [RegExp, LucideIcon][] = [
  [/commit/, GitCommitHorizontal], [/branch|merge|pull/, GitBranch], [/search|grep|find|list/, Search], [/read|write|file|edit/, FileText], [/run|exec|shell|test/, Terminal],
];

export function StepIcon({ step, size = 13 }: { step: Pick<Step, "kind" | "name">; size?: number }) {
  const model = step.kind === "model";
  const Icon = model ? Cpu : (ICONS.find(([pattern]) => pattern.test(step.name))?.[1] ?? Wrench);
  return (
    <span className={clsx("flex size-5.5 shrink-0 items-center justify-center rounded", model ? "bg-violet-wash text-violet" : "bg-raised text-soft")}>
      <Icon size={size} role="img" aria-label={model ? t.run.model : t.run.tool} />
    </span>
  );
}

/** One step on one line: icon, tool, target, +n −m, duration, cost. Opens to its input and output. */
export function StepRow({ step, actions }: { step: Step; actions?: ReactNode }) {
  return (
    <Disclosure
      className="border-b border-line last:border-b-0"
      summaryClass="flex-wrap gap-x-2 gap-y-0.5 px-3 py-1.5 hover:bg-hover sm:flex-nowrap"
      data-step={step.number}
      summary={<>
        <StepIcon step={step} />
        <span className={clsx("shrink-0 font-mono text-xs", step.kind === "model" && "text-violet")}>{step.name}</span>
        <span className={clsx("min-w-0 flex-1 truncate max-sm:order-last max-sm:basis-full", step.kind === "model" ? "text-ink" : "text-soft")}>{sayingOf(step)}</span>
        {step.attempt > 1 ? <span className="shrink-0 text-xs text-warn">{t.story.attempt(step.attempt)}</span> : null}
        {step.additions || step.deletions ? <Delta additions={step.additions ?? 0} deletions={step.deletions ?? 0} /> : null}
        <StepStatus step={step} />
        <StepNumbers step={step} />
      </>}
    >
      <StepBody step={step} actions={actions} />
    </Disclosure>
  );
}

/** How a step stands, where that is worth a word. A call that a budget refused did not fail: it is made when there is more. */
export function StepStatus({ step }: { step: Step }) {
  if (step.status === "done") return null;
  return heldUp(step) ? <Badge tone="warn">{t.run.heldUp}</Badge> : <Status value={step.status} />;
}

export function StepNumbers({ step }: { step: Step }) {
  const priced = step.cost_micro_usd > 0;
  return (
    <span className="hidden shrink-0 items-center gap-2 text-right text-2xs text-soft tabular sm:flex">
      <span className="w-16 whitespace-nowrap">{step.tokens_in || step.tokens_out ? t.story.tokenCount(compact((step.tokens_in ?? 0) + (step.tokens_out ?? 0))) : ""}</span>
      <span className="w-13">{step.duration_ms === null || step.duration_ms === undefined ? "" : duration(step.duration_ms)}</span>
      <span className="w-15">{priced ? <Cost real={step.simulated ? 0 : step.cost_micro_usd} simulated={step.simulated ? step.cost_micro_usd : 0} short /> : ""}</span>
    </span>
  );
}

/** What went in and what came out; `children` is what else there is to see of it. */
export function StepBody({ step, actions, children }: { step: Step; actions?: ReactNode; children?: ReactNode }) {
  const problem = t.run.status[step.status];
  return (
    <div className="flex flex-col gap-2.5 px-3 pt-1 pb-3 sm:pl-8">
      {step.error ? <Notice tone={heldUp(step) ? "warn" : "bad"}>{step.error}</Notice> : null}
      {problem ? <Notice tone="warn">{problem}</Notice> : null}
      <div className="grid gap-2.5 lg:grid-cols-2">
        {step.input === undefined || step.input === null ? null : <div className="min-w-0"><h4 className="mb-1 text-xs font-medium text-soft">{t.story.input}</h4><Json value={step.input} label={t.story.input} /></div>}
        {step.output === undefined || step.output === null ? null : <div className="min-w-0"><h4 className="mb-1 text-xs font-medium text-soft">{t.story.output}</h4><Json value={step.output} label={t.story.output} /></div>}
      </div>
      {children}
      {actions ? <div className="flex flex-wrap items-center gap-2">{actions}</div> : null}
    </div>
  );
}
