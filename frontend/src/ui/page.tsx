import { clsx } from "clsx";
import { MoveHorizontal } from "lucide-react";
import { useEffect, useRef, useState, type ReactNode } from "react";
import { t } from "../i18n/en";

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

export type Head = string | { label: string; right?: true; acts?: true };

/** The head over what is done with a row. */
export const ACTIONS: Head = { label: t.common.actions, acts: true };
/** What is done with a row stays in sight on a phone, whatever else is scrolled away. */
export const ACTS = "px-3 py-2 max-md:sticky max-md:right-0 max-md:bg-panel max-md:shadow-[-1px_0_0_var(--c-line)] max-md:px-2";

/** Whether something is wider than it is shown. */
function useOverflows<E extends HTMLElement>() {
  const ref = useRef<E>(null);
  const [overflows, setOverflows] = useState(false);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const measure = () => setOverflows(element.scrollWidth > element.clientWidth + 1);
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    // What is in it may grow alone.
    for (const child of element.children) observer.observe(child);
    measure();
    return () => observer.disconnect();
  }, []);
  return [ref, overflows] as const;
}

/** A table that scrolls by itself on a narrow screen, reachable by keyboard. Numbers stand right, under their heads. */
export function TableFrame({ label, children, heads, wide }: { label: string; heads: Head[]; children: ReactNode; wide?: boolean }) {
  const [frame, overflows] = useOverflows<HTMLDivElement>();
  const acts = heads.some((head) => typeof head !== "string" && head.acts);
  return (
    <div className="min-w-0">
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard */}
      <div ref={frame} className={clsx("card relative overflow-x-auto", acts && "max-md:scroll-pr-28")} tabIndex={0} role="region" aria-label={label}>
        <table className={clsx("w-full text-left", wide && "min-w-3xl")}>
          <thead className="border-b border-line text-xs text-soft">
            <tr>
              {heads.map((head) => {
                const { label: name, right, acts: act } = typeof head === "string" ? { label: head } : head;
                return <th key={name} scope="col" className={clsx("font-medium whitespace-nowrap", act ? ACTS : "px-3 py-2", right && "text-right")}>{name}</th>;
              })}
            </tr>
          </thead>
          <tbody className="divide-y divide-line">{children}</tbody>
        </table>
      </div>
      {overflows ? <p aria-hidden="true" data-scroll-hint className="mt-1 flex items-center justify-end gap-1 text-xs text-soft"><MoveHorizontal size={13} />{t.common.scrollSideways}</p> : null}
    </div>
  );
}
