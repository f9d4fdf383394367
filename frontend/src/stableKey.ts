import { useState } from "react";
import { idempotencyKey } from "./api/client";

/** Gives the same key for the same content: what was sent and maybe not answered is not done twice by a second try. */
export class StableKey {
  private last: { content: string; key: string } | null = null;

  for(content: unknown): string {
    const text = JSON.stringify(content);
    if (this.last?.content !== text) this.last = { content: text, key: idempotencyKey() };
    return this.last.key;
  }

  /** It was done: the same content once more is another wish. */
  done(): void {
    this.last = null;
  }
}

/** One for the lifetime of a form. */
export function useStableKey(): StableKey {
  return useState(() => new StableKey())[0];
}
