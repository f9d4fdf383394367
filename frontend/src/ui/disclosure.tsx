import { clsx } from "clsx";
import { ChevronRight } from "lucide-react";
import { useState, type ReactNode } from "react";

/** What is folded away; it is rendered when it is opened, so that a long page stays light. */
export function Disclosure({ summary, children, open: initially = false, className, summaryClass, onOpen, ...rest }: {
  summary: ReactNode;
  children: ReactNode;
  open?: boolean;
  className?: string | undefined;
  summaryClass?: string | undefined;
  onOpen?: () => void;
} & { [data: `data-${string}`]: string | number | undefined }) {
  const [open, setOpen] = useState(initially);
  return (
    <details {...rest} open={open} className={className} onToggle={(event) => { setOpen(event.currentTarget.open); if (event.currentTarget.open) onOpen?.(); }}>
      <summary className={clsx("flex items-center", summaryClass ?? "w-fit gap-1 rounded text-xs font-medium text-soft hover:text-ink")}>
        <ChevronRight size={13} aria-hidden="true" className={clsx("shrink-0 text-faint transition-transform", open && "rotate-90")} />
        {summary}
      </summary>
      {open ? children : null}
    </details>
  );
}
