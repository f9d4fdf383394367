import { SseParser, type SseMessage } from "../api/sse";
import type { AnswerEnd, AnswerHead } from "../api/types";

/** An answer of the playground as it comes in. */
export interface Answer {
  head: AnswerHead | null;
  text: string;
  thinking: string;
  end: AnswerEnd | null;
}

export const NOTHING: Answer = { head: null, text: "", thinking: "", end: null };

/** The answer with one event more; what is not known changes nothing. */
export function heard(answer: Answer, message: SseMessage): Answer {
  let data: unknown;
  try {
    data = JSON.parse(message.data);
  } catch {
    return answer;
  }
  if (message.event === "head") return { ...answer, head: data as AnswerHead };
  if (message.event === "text") return { ...answer, text: answer.text + (data as { text: string }).text };
  if (message.event === "thinking") return { ...answer, thinking: answer.thinking + (data as { text: string }).text };
  if (message.event === "end") return { ...answer, end: data as AnswerEnd };
  return answer;
}

/** Reads an answer to its end; `tell` is told once for each piece that comes in. */
export async function readAnswer(body: ReadableStream<Uint8Array>, tell: (answer: Answer) => void): Promise<Answer> {
  const parser = new SseParser();
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let answer = NOTHING;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return answer;
    answer = parser.push(decoder.decode(value, { stream: true })).reduce(heard, answer);
    tell(answer);
  }
}

/** The most tokens that the server lets anybody ask for. */
const MAX_TOKENS = 128_000;

/** "512" typed by a person; null when it is no number of tokens that can be asked for. */
export function tokenLimit(text: string): number | null {
  const value = /^\d{1,6}$/.test(text.trim()) ? Number(text) : 0;
  return value >= 1 && value <= MAX_TOKENS ? value : null;
}
