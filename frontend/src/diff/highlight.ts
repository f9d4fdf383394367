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

/** The diff library expects the node list that older versions of the highlighter returned. */
const adapter = {
  highlight: (source: string, language: string) => refractor.highlight(source, language).children,
};

export function tokensOf(hunks: HunkData[], language: string | null): HunkTokens | null {
  const lines = hunks.reduce((sum, hunk) => sum + hunk.changes.length, 0);
  if (lines > MAX_LINES) return null;
  const enhancers = [markEdits(hunks, { type: "block" })];
  try {
    if (language && refractor.registered(language)) {
      return tokenize(hunks, { highlight: true, refractor: adapter as never, language, enhancers });
    }
    return tokenize(hunks, { enhancers });
  } catch {
    return null;
  }
}
