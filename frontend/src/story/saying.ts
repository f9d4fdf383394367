import type { Step } from "../api/types";
import { refusalOf } from "../costs/raise";

/** What a step is about, in one line: its own target, or the first words of what the model answered. */

const MAX_CHARS = 160;
/** The first text block and the called tools of an answer that is a cut piece of JSON, too. */
const TEXT = /"text":\s*"((?:[^"\\]|\\.)*)/;
const TOOL = /"name":\s*"([\w.-]+)"/g;

interface Block {
  type?: unknown;
  text?: unknown;
  name?: unknown;
}

function oneLine(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > MAX_CHARS ? `${line.slice(0, MAX_CHARS).trimEnd()}…` : line;
}

function unescaped(text: string): string {
  return text.replaceAll(/\\n|\\t/g, " ").replaceAll(/\\(["\\/])/g, "$1");
}

function ofBlocks(blocks: Block[]): string {
  const said = blocks.find((block) => block.type === "text" && typeof block.text === "string" && block.text.trim() !== "");
  if (said) return oneLine(String(said.text));
  return blocks.flatMap((block) => (typeof block.name === "string" ? [block.name] : [])).join(", ");
}

/** Whether a model call waits, or waited, for a budget: recorded as failed, it is told by the server's sentence. */
export function heldUp({ kind, status, error }: Pick<Step, "kind" | "status" | "error">): boolean {
  return kind === "model" && status === "failed" && refusalOf(error ?? "") !== null;
}

export function sayingOf(step: Pick<Step, "kind" | "target" | "output">): string {
  if (step.target) return step.target;
  const { output } = step;
  if (step.kind !== "model" || output === null || output === undefined) return "";
  if (typeof output === "object" && !Array.isArray(output) && Array.isArray(output["blocks"])) return ofBlocks(output["blocks"] as Block[]);
  const text = typeof output === "string" ? output : JSON.stringify(output);
  if (!text.startsWith("{")) return oneLine(text);
  const said = TEXT.exec(text)?.[1];
  return said ? oneLine(unescaped(said)) : [...text.matchAll(TOOL)].map((match) => match[1]).join(", ");
}
