import { clsx } from "clsx";
import { CircleAlert, CircleCheck, X } from "lucide-react";
import { useSyncExternalStore } from "react";
import { ApiError } from "../api/client";
import { t } from "../i18n/en";
import { IconButton } from "./button";
import { labelOf } from "./status";

/**
 * Short-lived messages. Errors stay longer: they name a reason someone has to read. They come in over the
 * middle of the top bar, the one place where no page has its buttons.
 */

interface Toast {
  id: number;
  tone: "ok" | "bad";
  title: string;
  detail?: string | undefined;
}

const OK_MS = 4_000;
const BAD_MS = 10_000;
const MAX_SHOWN = 4;

let toasts: Toast[] = [];
let nextId = 1;
const listeners = new Set<() => void>();

function publish(next: Toast[]): void {
  toasts = next;
  for (const listener of listeners) listener();
}

export function dismiss(id: number): void {
  publish(toasts.filter((toast) => toast.id !== id));
}

export function toast(title: string, options: { tone?: "ok" | "bad"; detail?: string | undefined } = {}): void {
  const id = nextId++;
  const tone = options.tone ?? "ok";
  publish([...toasts, { id, tone, title, detail: options.detail }].slice(-MAX_SHOWN));
  setTimeout(() => dismiss(id), tone === "ok" ? OK_MS : BAD_MS);
}

function guardText(error: ApiError): string | undefined {
  const { guard, legal_from: legalFrom } = error.body;
  if (typeof guard !== "string") return undefined;
  const states = Array.isArray(legalFrom) ? legalFrom.map((state) => labelOf(String(state))) : [];
  return t.errors.guard(guard, states);
}

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

/** Says why the server refused; an illegal transition names its guard and where it is legal. */
export function toastError(error: unknown, title: string = t.common.failed): void {
  if (error instanceof ApiError) {
    const changed = error.status === 409 && error.code === "changed";
    const detail = changed ? t.errors.conflict : [sentence(error.message), guardText(error)].filter(Boolean).join(" ");
    toast(title, { tone: "bad", detail });
    return;
  }
  toast(title, { tone: "bad", detail: error instanceof Error ? error.message : String(error) });
}

export function Toaster() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => toasts,
  );
  return (
    <div aria-live="polite" aria-label={t.common.notifications} role="region" className="pointer-events-none fixed top-1.5 left-1/2 z-50 flex w-[min(400px,calc(100vw-16px))] -translate-x-1/2 flex-col gap-2">
      {shown.map((item) => (
        <div key={item.id} data-toast={item.tone} className={clsx("pointer-events-auto flex items-start gap-2.5 rounded-lg border bg-panel px-3 py-2.5 shadow-lg", item.tone === "bad" ? "border-bad/50" : "border-line-strong")}>
          {item.tone === "ok" ? <CircleCheck size={16} aria-hidden="true" className="mt-0.5 shrink-0 text-ok" /> : <CircleAlert size={16} aria-hidden="true" className="mt-0.5 shrink-0 text-bad" />}
          <div className="min-w-0 flex-1">
            <p className="font-medium">{item.title}</p>
            {item.detail ? <p className="break-words text-soft">{item.detail}</p> : null}
          </div>
          <IconButton label={t.common.dismiss} onClick={() => dismiss(item.id)} className="-mt-1 -mr-1"><X size={14} aria-hidden="true" /></IconButton>
        </div>
      ))}
    </div>
  );
}
