import { Check, RotateCcw, X } from "lucide-react";
import type { ReactNode } from "react";
import type { ApprovalDetail } from "../api/types";
import { money, percent } from "../format";
import { t } from "../i18n/en";
import { BudgetBar, Confidence, Cost } from "../ui/entity";
import { labelOf } from "../ui/status";
import { isQuestion } from "./note";

/** What helps to decide, beside what is decided: how sure, how dear, why asked, and what each answer does. */
export function Facts({ approval, threshold }: { approval: ApprovalDetail; threshold: number | undefined }) {
  return (
    <div className="card flex flex-col divide-y divide-line">
      <Sureness approval={approval} threshold={threshold} />
      <Spend approval={approval} />
      <Fact title={t.approval.why}>
        <p className="first-letter:uppercase">{approval.policy.rule}</p>
        <p className="mt-0.5 text-xs text-soft">{t.approval.autonomy}: {labelOf(approval.policy.autonomy)} · {t.inbox.category}: {labelOf(approval.category)}</p>
      </Fact>
      <Consequences approval={approval} />
    </div>
  );
}

function Fact({ title, children, tools }: { title: string; children?: ReactNode; tools?: ReactNode }) {
  return (
    <section aria-label={title} className="px-3.5 py-2.5">
      <div className="flex items-center gap-2">
        <h2 className="text-xs font-semibold text-soft">{title}</h2>
        {tools ? <div className="ml-auto">{tools}</div> : null}
      </div>
      {children ? <div className="mt-1">{children}</div> : null}
    </section>
  );
}

function Sureness({ approval, threshold }: { approval: ApprovalDetail; threshold: number | undefined }) {
  const { confidence, alternatives } = approval;
  const known = confidence !== null && confidence !== undefined;
  if (!known && alternatives.length === 0) return null;
  const low = known && threshold !== undefined && confidence < threshold;
  return (
    <Fact title={t.approval.confidenceLabel} tools={known ? <Confidence value={confidence} threshold={threshold} /> : null}>
      {known ? <progress className="bar mt-1.5" max={1} value={confidence} data-tone={low ? "warn" : "ok"} aria-label={t.approval.confidenceLabel} /> : null}
      {low ? <p className="mt-1 text-xs text-warn">{t.approval.belowThreshold(percent(threshold))}</p> : null}
      {alternatives.length > 0 ? (
        <>
          <p className="mt-1.5 text-xs text-soft">{t.approval.alternatives}</p>
          <ul className="mt-0.5 list-disc pl-4.5">{alternatives.map((text) => <li key={text}>{text}</li>)}</ul>
        </>
      ) : null}
    </Fact>
  );
}

/** The story, the run that asks, and the budget of all: three numbers, each said once. */
function Spend({ approval }: { approval: ApprovalDetail }) {
  const { story, run } = approval;
  const limit = run?.limits.max_cost_micro_usd;
  return (
    <Fact title={t.story.cost}>
      <dl className="grid grid-cols-[1fr_auto] gap-x-3 gap-y-0.5">
        {story ? <><dt>{t.approval.storySoFar}</dt><dd className="text-right"><Cost real={story.cost_micro_usd} simulated={story.simulated_micro_usd} /></dd></> : null}
        {run || !story ? (
          <>
            <dt>{run ? t.approval.costRun : t.cost.soFar}{limit ? <span className="text-xs text-soft"> {t.approval.runLimit(money(limit))}</span> : null}</dt>
            <dd className="text-right"><Cost real={run?.cost_micro_usd ?? approval.cost_micro_usd} simulated={run?.simulated_micro_usd ?? approval.simulated_micro_usd} /></dd>
          </>
        ) : null}
      </dl>
      <p className="mt-2 mb-1">{t.approval.projectBudget}</p>
      <BudgetBar budget={approval.budget} label={t.cost.budget} />
    </Fact>
  );
}

function Consequences({ approval }: { approval: ApprovalDetail }) {
  const question = isQuestion(approval.action);
  const rows = [
    { key: "approve", label: question ? t.approval.sendAnswer : t.approval.consequences.approve, icon: <Check size={13} aria-hidden="true" className="mt-0.5 shrink-0 text-ok" /> },
    ...(question ? [] : [{ key: "request_changes", label: t.approval.consequences.request_changes, icon: <RotateCcw size={13} aria-hidden="true" className="mt-0.5 shrink-0 text-warn" /> } as const]),
    { key: "reject", label: t.approval.consequences.reject, icon: <X size={13} aria-hidden="true" className="mt-0.5 shrink-0 text-bad" /> },
  ] as const;
  return (
    <Fact title={t.approval.what}>
      <ul className="flex flex-col gap-1.5">
        {rows.map(({ key, label, icon }) => (
          <li key={key} className="flex gap-1.5">
            {icon}
            <p className="min-w-0 text-xs text-soft"><span className="font-medium text-ink">{label}:</span> {approval.consequences[key]}</p>
          </li>
        ))}
      </ul>
    </Fact>
  );
}
