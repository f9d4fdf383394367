import { skipToken, useQuery } from "@tanstack/react-query";
import { keys } from "../api/keys";
import { t } from "../i18n/en";
import { ActorIcon } from "../ui/entity";

/** What the model of a run is saying at this moment; it is not kept, its step shows the whole of it. */
export function LiveText({ runId, name, className }: { runId: string; name: string; className?: string }) {
  const delta = useQuery<string>({ queryKey: keys.delta(runId), queryFn: skipToken });
  return (
    <div aria-live="polite" aria-atomic="false">
      {delta.data ? (
        <div data-live-text className={className}>
          <p className="mb-1 flex items-center gap-1.5 text-xs text-soft"><ActorIcon type="agent" />{name} {t.story.streaming}</p>
          <p className="max-h-40 overflow-y-auto whitespace-pre-wrap">{delta.data}</p>
        </div>
      ) : null}
    </div>
  );
}
