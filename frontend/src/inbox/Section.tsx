import type { ReactNode } from "react";

/** A part of the inbox. One without anything in it is a line, not an empty box. */
export function Section({ title, count, icon, empty, children, tools }: { title: string; count?: number | undefined; icon: ReactNode; empty?: string | undefined; children?: ReactNode; tools?: ReactNode }) {
  return (
    <section aria-label={title} className="mt-5 px-4 first-of-type:mt-3 md:px-6">
      <div className="mb-2 flex min-h-7 flex-wrap items-center gap-2">
        <span aria-hidden="true" className="text-faint">{icon}</span>
        <h2 className="text-sm font-semibold">{title}</h2>
        {empty !== undefined ? <span className="text-soft">{empty}</span> : count === undefined ? null : <span className="rounded-full bg-raised px-1.5 text-2xs text-soft tabular">{count}</span>}
        <div className="ml-auto flex flex-wrap items-center gap-1.5">{tools}</div>
      </div>
      {empty === undefined ? <div className="card overflow-hidden">{children}</div> : null}
    </section>
  );
}
