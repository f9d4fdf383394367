import type { MadeKey } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Copyable } from "../ui/copy";
import { Dialog } from "../ui/dialog";
import { Notice } from "../ui/feedback";
import { environment } from "./keys";

/** The secret of a key, once: it is in no cache, and gone with this. */
export function Secret({ made, onClose }: { made: MadeKey | null; onClose: () => void }) {
  return (
    <Dialog open={made !== null} onClose={onClose} title={made ? t.gatewayKeys.secretTitle(made.key.name) : ""} wide sticky>
      {made ? <Shown made={made} onClose={onClose} /> : null}
    </Dialog>
  );
}

function Shown({ made, onClose }: { made: MadeKey; onClose: () => void }) {
  const lines = environment(window.location.origin, made.secret);
  const parts = [[t.gatewayKeys.secret, made.secret], [t.gatewayKeys.openai, lines.openai], [t.gatewayKeys.anthropic, lines.anthropic]] as const;
  return (
    <div className="flex flex-col gap-3.5" data-secret>
      <Notice tone="warn">{t.gatewayKeys.secretOnce}</Notice>
      {parts.map(([what, text]) => (
        <div key={what}>
          <p className="mb-1 font-medium">{what}</p>
          <Copyable what={what} text={text} />
        </div>
      ))}
      <div className="flex justify-end"><Button size="md" tone="primary" onClick={onClose}>{t.gatewayKeys.stored}</Button></div>
    </div>
  );
}
