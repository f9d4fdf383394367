import { useState } from "react";
import type { Job } from "../api/types";
import { t } from "../i18n/en";
import { Button } from "../ui/button";
import { Dialog } from "../ui/dialog";
import { TextField } from "../ui/form";
import type { Settlement } from "./settle";

export interface Asking {
  what: Settlement;
  jobs: Job[];
}

interface Answers {
  onClose: () => void;
  onConfirm: (asking: Asking, reason: string) => void;
}

/** What is done to jobs is asked first. What cannot be taken back needs a reason, and only its button decides. */
export function Confirm({ asking, ...answers }: { asking: Asking | null } & Answers) {
  return asking ? <Question asking={asking} {...answers} /> : null;
}

function Question({ asking, onClose, onConfirm }: { asking: Asking } & Answers) {
  const [reason, setReason] = useState("");
  const { what, jobs } = asking;
  const said = reason.trim();
  const free = what === "redrive";
  return (
    <Dialog open onClose={onClose} title={t.jobs.ask[what](jobs.length)}>
      <p>{t.jobs.help[what]}</p>
      <ul className="mt-2 mb-3 max-h-40 overflow-y-auto font-mono text-xs text-soft">{jobs.map((job) => <li key={job.id}>{job.queue} · {job.kind} · {job.id}</li>)}</ul>
      <TextField label={t.jobs.reason} help={t.jobs.reasonHelp} value={reason} maxLength={1_000} required={!free} data-autofocus={free ? undefined : true} onChange={(event) => setReason(event.target.value)} />
      <div className="mt-4 flex justify-end gap-2">
        <Button size="md" tone="ghost" onClick={onClose}>{t.common.cancel}</Button>
        <Button size="md" tone={free ? "primary" : "danger"} disabled={!free && said === ""} data-autofocus={free ? true : undefined} onClick={() => onConfirm(asking, said)}>{t.jobs[what]}</Button>
      </div>
    </Dialog>
  );
}
