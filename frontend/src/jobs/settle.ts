import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { cancelJob, isAnswer, purgeJob, redriveJob } from "../api/actions";
import { keys } from "../api/keys";
import type { Job } from "../api/types";
import { t } from "../i18n/en";
import { StableKey } from "../stableKey";
import { toast, toastError } from "../ui/toast";

export type Settlement = "redrive" | "purge" | "cancel";

const SEND = { redrive: redriveJob, purge: purgeJob, cancel: cancelJob };

export interface Settling {
  run: (what: Settlement, jobs: Job[], reason: string) => Promise<void>;
  progress: { done: number; all: number } | null;
}

/** Settles one by one, so that every job has its own entry on record and its own refusal. `onDone` gets those that stayed. */
export function useSettle(onDone: (left: Job[]) => void): Settling {
  const client = useQueryClient();
  const [progress, setProgress] = useState<Settling["progress"]>(null);
  const running = useRef(false);
  const stable = useRef(new Map<string, StableKey>());
  const one = async (what: Settlement, job: Job, reason: string) => {
    const name = `${what}:${job.id}`;
    const key = stable.current.get(name) ?? new StableKey();
    stable.current.set(name, key);
    try {
      await SEND[what](job.id, reason, key.for({ name, reason }));
      key.done();
    } catch (error) {
      if (isAnswer(error)) key.done();
      throw error;
    }
  };
  const run = async (what: Settlement, jobs: Job[], reason: string) => {
    if (running.current || jobs.length === 0) return;
    running.current = true;
    const left: Job[] = [];
    let lastError: unknown = null;
    for (const [index, job] of jobs.entries()) {
      setProgress({ done: index, all: jobs.length });
      try {
        await one(what, job, reason);
      } catch (error) {
        left.push(job);
        lastError = error;
      }
    }
    running.current = false;
    setProgress(null);
    await client.invalidateQueries({ queryKey: keys.jobs() });
    if (jobs.length > left.length) toast(t.jobs.settled[what](jobs.length - left.length));
    if (left.length > 0) toastError(lastError, t.jobs.refused[what](left.length));
    onDone(left);
  };
  return { run, progress };
}
