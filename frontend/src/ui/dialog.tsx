import { X } from "lucide-react";
import { useEffect, useId, useRef, type ReactNode } from "react";
import { clsx } from "clsx";
import { t } from "../i18n/en";
import { IconButton } from "./button";

/** A modal on the native element: focus trap, Escape and inert background come from the browser. */
export function Dialog({ open, onClose, title, children, wide, bare, sticky }: {
  open: boolean;
  onClose: () => void;
  title: string;
  children: ReactNode;
  wide?: boolean;
  bare?: boolean;
  /** What it holds is lost for good with it: only a button of its own closes it. */
  sticky?: boolean;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  /** Where the pointer went down: a selection of text that ends beside the dialog is no wish to leave. */
  const pressed = useRef<EventTarget | null>(null);
  const dirty = useRef(false);
  useEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    if (open && !dialog.open) {
      dirty.current = false;
      dialog.showModal();
      dialog.querySelector<HTMLElement>("[data-autofocus]")?.focus();
    }
    if (!open && dialog.open) dialog.close();
  }, [open]);
  return (
    // oxlint-disable-next-line jsx-a11y/click-events-have-key-events -- Escape closes it natively; the click is the backdrop's
    <dialog
      ref={ref}
      aria-labelledby={titleId}
      onClose={onClose}
      onCancel={(event) => { if (sticky) event.preventDefault(); }}
      onInput={() => { dirty.current = true; }}
      onPointerDown={(event) => { pressed.current = event.target; }}
      onClick={(event) => {
        // What was written is lost by a decision only: Escape, Cancel or the cross. A search box holds nothing.
        const beside = event.target === ref.current && pressed.current === ref.current;
        if (beside && !sticky && (bare || !dirty.current)) onClose();
      }}
      className={clsx(
        "m-auto mt-[12vh] max-h-[80vh] w-[calc(100vw-24px)] overflow-hidden rounded-xl border border-line-strong bg-panel p-0 shadow-2xl backdrop:bg-black/40",
        wide ? "max-w-2xl" : "max-w-lg",
      )}
    >
      {open ? (
        <div className="flex max-h-[80vh] flex-col">
          <div className={clsx("flex items-center justify-between border-b border-line py-2 pr-2 pl-4", bare && "sr-only")}>
            <h2 id={titleId} className="text-sm font-semibold">{title}</h2>
            {/* A control that nobody sees must not take the focus: Escape closes it. */}
            {bare || sticky ? null : <IconButton label={t.common.close} onClick={onClose}><X size={16} aria-hidden="true" /></IconButton>}
          </div>
          <div className={clsx("overflow-y-auto", !bare && "p-4")}>{children}</div>
        </div>
      ) : null}
    </dialog>
  );
}
