import { clsx } from "clsx";
import type { ApprovalDetail } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Disclosure } from "../ui/disclosure";
import { Json as JsonView } from "../ui/entity";

/** What exactly is asked for, where the one who answers may change it. */
export function Arguments({ approval, text, invalid, changed, onChange }: {
  approval: ApprovalDetail; text: string | null; invalid: boolean; changed: boolean; onChange: (text: string | null) => void;
}) {
  const original = JSON.stringify(approval.arguments, null, 2);
  return (
    <section aria-label={t.approval.arguments} className="card max-w-[54rem] p-3.5">
      <div className="mb-1.5 flex items-center gap-2">
        <h2 className="text-xs font-semibold text-soft">{t.approval.arguments}</h2>
        {text !== null ? <Button tone="ghost" className="ml-auto" onClick={() => onChange(null)}>{t.approval.argumentsReset}</Button> : null}
      </div>
      <textarea
        aria-label={t.approval.arguments}
        aria-invalid={invalid || undefined}
        aria-describedby="arguments-help"
        spellCheck={false}
        rows={Math.min(16, original.split("\n").length + 1)}
        value={text ?? original}
        onChange={(event) => onChange(event.target.value === original ? null : event.target.value)}
        className="field font-mono text-xs pointer-coarse:text-base"
      />
      <p id="arguments-help" className={clsx("mt-1 text-xs", invalid ? "text-bad" : "text-soft")}>
        {invalid ? t.errors.json : changed ? `${t.approval.argumentsChanged}. ${t.approval.argumentsEditable}` : t.approval.argumentsEditable}
      </p>
    </section>
  );
}

/** What a decision is bound to, for those who want to see it. */
export function Record({ approval }: { approval: ApprovalDetail }) {
  return (
    <Disclosure summary={t.approval.record} summaryClass="w-fit gap-1 text-xs font-medium text-soft max-md:min-h-10 max-md:text-sm">
      <div className="mt-2 flex flex-col gap-2">
        <p className="font-mono text-2xs break-all text-soft">{t.approval.digest} {approval.digest}</p>
        <JsonView value={approval.arguments} label={t.approval.arguments} />
      </div>
    </Disclosure>
  );
}
