import type { Json } from "../api/types";

export type EditedArguments = { kind: "same" } | { kind: "invalid" } | { kind: "changed"; value: Json };

/** What an edited text of the arguments means; spacing alone is no change. */
export function argumentsOf(text: string | null, original: Json): EditedArguments {
  if (text === null) return { kind: "same" };
  try {
    const value = JSON.parse(text) as Json;
    return JSON.stringify(value) === JSON.stringify(original) ? { kind: "same" } : { kind: "changed", value };
  } catch {
    return { kind: "invalid" };
  }
}
