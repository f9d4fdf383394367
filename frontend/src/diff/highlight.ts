import { markEdits, tokenize, type HunkData, type HunkTokens } from "react-diff-view";
import { refractor } from "refractor";
import toml from "refractor/toml";
import tsx from "refractor/tsx";
import jsx from "refractor/jsx";

/** Syntax colours and word-level marks; a file too large for it is shown plain. */

const MAX_LINES = 3_000;

refractor.register(toml);
refractor.register(jsx);
refractor.register(tsx);

/**
 * Word marks help where a line was changed in place. A block that was rewritten has more lines on
 * one side, and marking it would only paint it twice: those blocks are left out.
 */
export function editedInPlace(hunks: HunkData[]): HunkData[] {
  return hunks.map((hunk) => {
    const kept: HunkData["changes"] = [];
    let block: HunkData["changes"] = [];
    const close = () => {
      const removed = block.filter((change) => change.type === "delete").length;
      if (removed * 2 === block.length) kept.push(...block);
      block = [];
    };
    for (const change of hunk.changes) {
      if (change.type === "normal") {
        close();
        kept.push(change);
      } else block.push(change);
    }
    close();
    return { ...hunk, changes: kept };
  });
}

/** The diff library expects the node list that older versions of the highlighter returned. */
const adapter = {
  highlight: (source: string, language: string) => refractor.highlight(source, language).children,
};

export function tokensOf(hunks: HunkData[], language: string | null): HunkTokens | null {
  const lines = hunks.reduce((sum, hunk) => sum + hunk.changes.length, 0);
  if (lines > MAX_LINES) return null;
  const enhancers = [markEdits(editedInPlace(hunks), { type: "block" })];
  try {
    if (language && refractor.registered(language)) {
      return tokenize(hunks, { highlight: true, refractor: adapter as never, language, enhancers });
    }
    return tokenize(hunks, { enhancers });
  } catch {
    return null;
  }
}
