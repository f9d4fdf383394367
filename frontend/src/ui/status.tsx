import { clsx } from "clsx";
import { Hand } from "lucide-react";
import { t } from "../i18n/en";
import { titleCase } from "../format";

/** One palette for the state of every entity: what it means is said by tone, what it is by word. */

export type Tone = "neutral" | "accent" | "ok" | "warn" | "bad" | "info" | "violet";

const TONE_CLASS: Record<Tone, string> = {
  neutral: "bg-raised text-soft",
  accent: "bg-accent-wash text-accent",
  ok: "bg-ok-wash text-ok",
  warn: "bg-warn-wash text-warn",
  bad: "bg-bad-wash text-bad",
  info: "bg-info-wash text-info",
  violet: "bg-violet-wash text-violet",
};

const TONES: Record<string, Tone> = {
  // waiting for a person
  pending: "warn", waiting: "warn", paused: "warn", blocked: "warn", changes_requested: "warn", unknown: "warn", soft: "warn", warning: "warn", notice: "info",
  // working
  started: "info", thinking: "info", acting: "info", active: "info", importing: "info", submitted: "info", running: "info", reserved: "info",
  analysis: "violet", design: "violet", implementation: "info", review: "accent", reviewing: "accent", testing: "info", planning: "neutral",
  // good
  approved: "ok", approved_with_changes: "ok", succeeded: "ok", done: "ok", merged: "ok", ready: "ok", passed: "ok", ok: "ok", success: "ok", settled: "ok",
  // bad
  rejected: "bad", failed: "bad", stalled: "bad", critical: "bad", error: "bad", dead: "bad",
  // over
  expired: "neutral", cancelled: "neutral", superseded: "neutral", terminated: "neutral", closed: "neutral", idle: "neutral", interrupted: "neutral",
  // lanes and categories
  milestone: "violet", routine: "neutral", uncertainty: "warn", expertise: "info",
};

export function toneOf(status: string): Tone {
  return TONES[status] ?? "neutral";
}

export function labelOf(status: string): string {
  const labels: Record<string, string> = t.status;
  return labels[status] ?? titleCase(status);
}

export function Badge({ tone = "neutral", children, className }: { tone?: Tone; children: React.ReactNode; className?: string }) {
  return (
    <span className={clsx("inline-flex shrink-0 items-center gap-1 whitespace-nowrap rounded px-1.5 text-2xs font-medium leading-5", TONE_CLASS[tone], className)}>
      {children}
    </span>
  );
}

/** A person has to do something: warm, and the same everywhere. */
export function Attention({ children }: { children: React.ReactNode }) {
  return <span className="inline-flex shrink-0 items-center gap-1 whitespace-nowrap rounded bg-attention-wash px-1.5 text-2xs font-semibold leading-5 text-attention"><Hand size={12} aria-hidden="true" />{children}</span>;
}

const DOT: Record<Tone, string> = {
  neutral: "bg-faint", accent: "bg-accent", ok: "bg-ok", warn: "bg-warn", bad: "bg-bad", info: "bg-info", violet: "bg-violet",
};

export function Dot({ tone, live }: { tone: Tone; live?: boolean }) {
  return <span aria-hidden="true" className={clsx("inline-block size-2 shrink-0 rounded-full", DOT[tone], live && "live-dot")} />;
}

const LIVE = new Set(["started", "thinking", "acting", "active", "importing"]);

export function Status({ value, className }: { value: string; className?: string }) {
  const tone = toneOf(value);
  return (
    <Badge tone={tone} {...(className ? { className } : {})}>
      <Dot tone={tone} live={LIVE.has(value)} />
      {labelOf(value)}
    </Badge>
  );
}
