import { clsx } from "clsx";
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

export type Head = string | { label: string; right: true };

/** A table that scrolls by itself on a narrow screen, reachable by keyboard. Numbers stand right, under their heads. */
export function TableFrame({ label, children, heads, wide }: { label: string; heads: Head[]; children: ReactNode; wide?: boolean }) {
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard
    <div className="card relative overflow-x-auto" tabIndex={0} role="region" aria-label={label}>
      <table className={clsx("w-full text-left", wide && "min-w-3xl")}>
        <thead className="border-b border-line text-xs text-soft">
          <tr>
            {heads.map((head) => {
              const { label: name, right } = typeof head === "string" ? { label: head, right: false } : head;
              return <th key={name} scope="col" className={clsx("px-3 py-2 font-medium whitespace-nowrap", right && "text-right")}>{name}</th>;
            })}
          </tr>
        </thead>
        <tbody className="divide-y divide-line">{children}</tbody>
      </table>
    </div>
  );
}
