import { clsx } from "clsx";

/** What people and agents write: its line breaks are kept, and `code` is shown as code. Nothing else is markup. */
export function Prose({ text, className }: { text: string; className?: string }) {
  return (
    <p className={clsx("whitespace-pre-wrap break-words", className)}>
      {text.split(/(`[^`\n]+`)/).map((part, index) => (index % 2 === 1
        // oxlint-disable-next-line react/no-array-index-key -- parts of one text have no other identity, and never move
        ? <code key={index} className="rounded bg-raised px-1 font-mono text-[0.92em]">{part.slice(1, -1)}</code>
        : part))}
    </p>
  );
}
