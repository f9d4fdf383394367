import type { ReactNode } from "react";

/** The frame of an ordinary page: one heading, its tools, its content. */
export function PageFrame({ title, tools, children }: { title: string; tools?: ReactNode; children: ReactNode }) {
  return (
    <div className="page py-5">
      <div className="mb-4 flex min-h-8 flex-wrap items-center gap-2">
        <h1 className="text-lg font-semibold">{title}</h1>
        <div className="ml-auto flex flex-wrap items-center gap-1.5">{tools}</div>
      </div>
      {children}
    </div>
  );
}

/** A table that scrolls by itself on a narrow screen, reachable by keyboard. */
export function TableFrame({ label, children, heads }: { label: string; heads: string[]; children: ReactNode }) {
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard
    <div className="card overflow-x-auto" tabIndex={0} role="region" aria-label={label}>
      <table className="w-full text-left">
        <thead className="border-b border-line text-xs text-soft">
          <tr>{heads.map((head) => <th key={head} scope="col" className="px-3 py-2 font-medium whitespace-nowrap">{head}</th>)}</tr>
        </thead>
        <tbody className="divide-y divide-line">{children}</tbody>
      </table>
    </div>
  );
}
