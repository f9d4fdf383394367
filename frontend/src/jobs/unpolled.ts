import type { Queue } from "../api/types";

/** Queues in which jobs wait although no worker that is up polls them. */
export function unpolled<Q extends Pick<Queue, "queue" | "depth" | "workers">>(queues: Q[]): Q[] {
  return queues.filter((queue) => queue.workers === 0 && queue.depth > 0);
}
