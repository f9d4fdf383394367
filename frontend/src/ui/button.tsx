import { clsx } from "clsx";
import type { ButtonHTMLAttributes, Ref } from "react";

export type ButtonTone = "primary" | "ok" | "danger" | "outline" | "ghost";

const TONES: Record<ButtonTone, string> = {
  primary: "bg-accent-fill text-white border-transparent hover:brightness-110",
  ok: "bg-ok-fill text-white border-transparent hover:brightness-110",
  danger: "bg-panel text-bad border-line-strong hover:bg-bad-wash",
  outline: "bg-panel text-ink border-line-strong hover:bg-hover",
  ghost: "bg-transparent text-soft border-transparent hover:bg-hover hover:text-ink",
};

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  tone?: ButtonTone;
  size?: "sm" | "md";
  busy?: boolean;
  hint?: string;
  ref?: Ref<HTMLButtonElement>;
}

export function buttonClass(tone: ButtonTone = "outline", size: "sm" | "md" = "sm", extra?: string): string {
  return clsx(
    "inline-flex shrink-0 items-center justify-center gap-1.5 whitespace-nowrap rounded-md border font-medium transition-colors",
    size === "sm" ? "h-7 px-2.5 text-xs" : "h-9 px-3.5 text-sm",
    "disabled:opacity-55 disabled:hover:brightness-100",
    TONES[tone],
    extra,
  );
}

export function Button({ tone, size, busy, hint, className, children, type = "button", ...rest }: ButtonProps) {
  return (
    <button
      type={type === "submit" ? "submit" : "button"}
      aria-busy={busy || undefined}
      disabled={busy || rest.disabled}
      {...rest}
      className={buttonClass(tone, size, className)}
    >
      {children}
      {hint ? <Kbd keys={hint} quiet={tone === "primary" || tone === "ok"} /> : null}
    </button>
  );
}

export function Kbd({ keys, quiet }: { keys: string; quiet?: boolean }) {
  return (
    <kbd
      aria-hidden="true"
      className={clsx(
        "hidden rounded border px-1 font-sans text-2xs leading-4 md:inline-block",
        quiet ? "border-white/40 text-white" : "border-line-strong bg-raised text-soft",
      )}
    >
      {keys}
    </kbd>
  );
}

export function IconButton({ label, className, ...rest }: ButtonHTMLAttributes<HTMLButtonElement> & { label: string }) {
  return (
    <button
      type="button"
      aria-label={label}
      title={label}
      {...rest}
      className={clsx("inline-flex size-7 shrink-0 items-center justify-center rounded-md text-soft hover:bg-hover hover:text-ink", className)}
    />
  );
}
