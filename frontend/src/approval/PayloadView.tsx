import type { Json } from "../api/types";
import { money, titleCase } from "../format";
import { t } from "../i18n/en";
import { Json as JsonView } from "../ui/entity";

/** A request's payload by its shape: text, a list, named values, a command; JSON only as a last resort. */

const MAX_DEPTH = 3;

export function PayloadView({ value, depth = 0 }: { value: Json; depth?: number }) {
  if (value === null || value === "") return <span className="text-faint">{t.common.none}</span>;
  if (typeof value === "string") return <p className="max-w-prose whitespace-pre-wrap break-words">{value}</p>;
  if (typeof value === "number" || typeof value === "boolean") return <span className="tabular">{String(value)}</span>;
  if (depth >= MAX_DEPTH) return <JsonView value={value} label={t.approval.payload} />;
  if (Array.isArray(value)) {
    if (value.length === 0) return <span className="text-faint">{t.common.none}</span>;
    return (
      <ul className="list-disc space-y-1 pl-4.5">
        {value.map((item, index) => <li key={index}><PayloadView value={item} depth={depth + 1} /></li>)}
      </ul>
    );
  }
  return (
    <dl className="flex flex-col gap-2">
      {Object.entries(value).map(([name, item]) => (
        <div key={name} className="grid gap-x-3 gap-y-0.5 sm:grid-cols-[9rem_minmax(0,1fr)]">
          <dt className="text-soft">{titleCase(name.replace(/_micro_usd$/, ""))}</dt>
          <dd className="min-w-0">{named(name, item, depth)}</dd>
        </div>
      ))}
    </dl>
  );
}

function named(name: string, item: Json, depth: number) {
  if (name.endsWith("_micro_usd") && typeof item === "number") return money(item);
  if ((name === "command" || name === "argv") && (typeof item === "string" || Array.isArray(item))) {
    return <code className="block overflow-x-auto rounded-md border border-line bg-canvas px-2.5 py-1.5 font-mono text-[12px]">{Array.isArray(item) ? item.join(" ") : item}</code>;
  }
  return <PayloadView value={item} depth={depth + 1} />;
}
