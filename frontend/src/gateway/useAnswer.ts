import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { askPlayground } from "../api/actions";
import { keys } from "../api/keys";
import type { Question } from "../api/types";
import { NOTHING, readAnswer, type Answer } from "./answer";

export type Phase = "idle" | "asking" | "over" | "stopped" | "lost";

export interface Asked {
  phase: Phase;
  answer: Answer;
  /** Why the question was not taken. */
  refusal: unknown;
  ask: (question: Question) => void;
  stop: () => void;
}

/** One question at a time. It is stopped when the page is left: nobody would read the answer. */
export function useAnswer(projectId: string): Asked {
  const client = useQueryClient();
  const [phase, setPhase] = useState<Phase>("idle");
  const [answer, setAnswer] = useState<Answer>(NOTHING);
  const [refusal, setRefusal] = useState<unknown>(null);
  const current = useRef<AbortController | null>(null);
  useEffect(() => () => current.current?.abort(), []);

  const follow = async (question: Question, mine: AbortController) => {
    const awaited = () => current.current === mine && !mine.signal.aborted;
    try {
      const { body } = await askPlayground(projectId, question, mine.signal);
      // It was taken: what goes wrong from here on has cost something.
      const whole = body ? await readAnswer(body, (heard) => { if (awaited()) setAnswer(heard); }).catch(() => NOTHING) : NOTHING;
      if (awaited()) setPhase(whole.end ? "over" : "lost");
    } catch (error) {
      if (!awaited()) return;
      setPhase("idle");
      setRefusal(error);
    } finally {
      for (const queryKey of [keys.gateway(projectId), keys.usage(projectId), keys.budget(projectId)]) void client.invalidateQueries({ queryKey });
    }
  };
  const ask = (question: Question) => {
    current.current?.abort();
    const mine = new AbortController();
    current.current = mine;
    setPhase("asking");
    setAnswer(NOTHING);
    setRefusal(null);
    void follow(question, mine);
  };
  const stop = () => {
    current.current?.abort();
    setPhase("stopped");
  };
  return { phase, answer, refusal, ask, stop };
}
