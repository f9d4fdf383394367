import { skipToken, useQuery } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { keys } from "../api/keys";
import { t } from "../i18n/en";
import { ActorIcon } from "../ui/entity";

/** Nearer to the end than this, and one reads along. */
const END_PX = 24;

/** What the model of a run is saying at this moment; it is not kept, its step shows the whole of it. */
export function LiveText({ runId, name, className }: { runId: string; name: string; className?: string }) {
  const delta = useQuery<string>({ queryKey: keys.delta(runId), queryFn: skipToken });
  const box = useRef<HTMLDivElement>(null);
  const reading = useRef(true);
  const text = delta.data;
  useEffect(() => {
    // Follows the end with every word, unless someone has scrolled back to read.
    if (box.current && reading.current) box.current.scrollTop = box.current.scrollHeight;
  });
  return (
    <>
      {/* That somebody writes is news; every word of it is not. */}
      <p role="status" className="sr-only">{text ? `${name} ${t.story.streaming}` : ""}</p>
      {text ? (
        <div data-live-text className={className}>
          <p aria-hidden="true" className="mb-1 flex items-center gap-1.5 text-xs font-medium text-violet"><ActorIcon type="agent" />{name} {t.story.streaming}<span className="live-dot inline-block size-1.5 rounded-full bg-violet" /></p>
          {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- a scrolling region must be reachable by keyboard */}
          <div ref={box} tabIndex={0} role="region" aria-label={`${name} ${t.story.streaming}`} className="max-h-40 overflow-y-auto rounded break-words whitespace-pre-wrap"
            onScroll={(event) => { const { scrollHeight, scrollTop, clientHeight } = event.currentTarget; reading.current = scrollHeight - scrollTop - clientHeight < END_PX; }}>
            {text}
          </div>
        </div>
      ) : null}
    </>
  );
}
