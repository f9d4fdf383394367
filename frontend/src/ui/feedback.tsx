import type { UseQueryResult } from "@tanstack/react-query";
import { clsx } from "clsx";
import { CircleAlert, Info, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { ApiError } from "../api/client";
import { t } from "../i18n/en";
import { Button } from "./button";

export function SkeletonRows({ rows = 5, className }: { rows?: number; className?: string }) {
  return (
    <div role="status" className={clsx("flex flex-col gap-3", className)}>
      <span className="sr-only">{t.common.loading}</span>
      {Array.from({ length: rows }, (_, index) => (
        <div key={index} className="flex items-center gap-3">
          <div className="skeleton size-5" />
          <div className={clsx("skeleton h-4", ["w-1/2", "w-2/3", "w-2/5"][index % 3])} />
          <div className="skeleton ml-auto h-4 w-16" />
        </div>
      ))}
    </div>
  );
}

export function EmptyState({ title, detail, action, icon }: { title: string; detail?: string | undefined; action?: ReactNode; icon?: ReactNode }) {
  return (
    <div className="flex flex-col items-center gap-1.5 px-6 py-12 text-center">
      {icon ? <div className="mb-1 text-faint">{icon}</div> : null}
      <p className="text-md font-medium">{title}</p>
      {detail ? <p className="max-w-md text-soft">{detail}</p> : null}
      {action ? <div className="mt-3">{action}</div> : null}
    </div>
  );
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function InlineError({ error, onRetry, title }: { error: unknown; onRetry?: () => void; title?: string }) {
  const requestId = error instanceof ApiError ? error.body.request_id : undefined;
  return (
    <div role="alert" className="flex flex-wrap items-center gap-x-3 gap-y-2 rounded-lg border border-bad/40 bg-bad-wash px-3 py-2.5 text-bad">
      <CircleAlert size={16} aria-hidden="true" className="shrink-0" />
      <div className="min-w-0 flex-1">
        <p className="font-medium">{title ?? t.common.failed}</p>
        <p className="break-words">{errorText(error)}</p>
        {requestId ? <p className="font-mono text-2xs">{t.common.requestId(requestId)}</p> : null}
      </div>
      {onRetry ? <Button onClick={onRetry}>{t.common.retry}</Button> : null}
    </div>
  );
}

const NOTICE = {
  info: { className: "border-info/40 bg-info-wash text-info", icon: Info },
  warn: { className: "border-warn/40 bg-warn-wash text-warn", icon: TriangleAlert },
  bad: { className: "border-bad/40 bg-bad-wash text-bad", icon: CircleAlert },
} as const;

/** The sign of a `tall` one, such as a list, stands at its top. */
export function Notice({ tone, children, action, tall }: { tone: keyof typeof NOTICE; children: ReactNode; action?: ReactNode; tall?: boolean }) {
  const Icon = NOTICE[tone].icon;
  return (
    <div role="status" className={clsx("flex flex-wrap items-center gap-x-3 gap-y-1.5 rounded-lg border px-3 py-2", NOTICE[tone].className)}>
      <Icon size={16} aria-hidden="true" className={clsx("shrink-0", tall && "mt-0.5 self-start")} />
      <div className="min-w-0 flex-1 break-words">{children}</div>
      {action}
    </div>
  );
}

/** Skeleton, error with retry, or the content: the same three states on every page. */
export function Loaded<D>({ query, skeleton, children }: { query: UseQueryResult<D>; skeleton?: ReactNode; children: (data: D) => ReactNode }) {
  if (query.data !== undefined) {
    return (
      <>
        {query.isError ? <InlineError error={query.error} onRetry={() => void query.refetch()} title={t.common.stale} /> : null}
        {children(query.data)}
      </>
    );
  }
  if (query.isError) {
    return (
      <div className="p-4">
        <InlineError error={query.error} onRetry={() => void query.refetch()} />
      </div>
    );
  }
  return <>{skeleton ?? <SkeletonRows className="p-4" />}</>;
}
