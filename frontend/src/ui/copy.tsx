import { Check, Copy } from "lucide-react";
import { useEffect, useState } from "react";
import { t } from "../i18n/en";
import { Button } from "./button";
import { toast } from "./toast";

const SHOWN_MS = 2_000;

/** A text to take along, selectable as a whole, with a button that copies it. `what` names it. */
export function Copyable({ text, what }: { text: string; what: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);
  // Without a secure connection a browser has no clipboard to give.
  const copy = () => (navigator.clipboard?.writeText(text) ?? Promise.reject(new Error("no clipboard"))).then(() => setCopied(true), () => toast(t.gatewayKeys.copyFailed, { tone: "bad" }));
  return (
    <div className="flex items-start gap-2">
      <code className="min-w-0 flex-1 rounded-md border border-line bg-canvas px-2.5 py-1.5 font-mono text-xs break-all select-all">{text}</code>
      <Button aria-label={t.gatewayKeys.copy(what)} onClick={() => void copy()}>
        {copied ? <Check size={13} aria-hidden="true" /> : <Copy size={13} aria-hidden="true" />}
        <span aria-live="polite">{copied ? t.common.copied : t.common.copy}</span>
      </Button>
    </div>
  );
}
