import { parseDiff, type ChangeData, type HunkData } from "react-diff-view";

/** From the text of one file's patch to hunks, and between changes and the lines people point at. */

export interface LineRef {
  side: "old" | "new";
  line: number;
}

/**
 * The parser wants a whole `git diff`, and splits its paths at spaces. Paths come to us apart from
 * the patch, so the hunks get a plain header of our own, whatever stood above them.
 */
export function hunksOf(patch: string): HunkData[] {
  const start = patch.startsWith("@@") ? 0 : patch.indexOf("\n@@") + 1;
  if (start === 0 && !patch.startsWith("@@")) return [];
  const text = `diff --git a/f b/f\n--- a/f\n+++ b/f\n${patch.slice(start)}`;
  return parseDiff(text)[0]?.hunks ?? [];
}

/** A line is named by its number after the change; a removed one by its number before. */
export function lineOf(change: ChangeData): LineRef {
  if (change.type === "delete") return { side: "old", line: change.lineNumber };
  if (change.type === "insert") return { side: "new", line: change.lineNumber };
  return { side: "new", line: change.newLineNumber };
}

export function changeAt(hunks: HunkData[], ref: LineRef): ChangeData | undefined {
  for (const hunk of hunks) {
    for (const change of hunk.changes) {
      if (change.type === "normal") {
        if ((ref.side === "new" ? change.newLineNumber : change.oldLineNumber) === ref.line) return change;
      } else if (change.lineNumber === ref.line && (change.type === "insert") === (ref.side === "new")) {
        return change;
      }
    }
  }
  return undefined;
}

export function keyOf(change: ChangeData): string {
  if (change.type === "insert") return `I${change.lineNumber}`;
  if (change.type === "delete") return `D${change.lineNumber}`;
  return `N${change.oldLineNumber}`;
}

const LANGUAGES: Record<string, string> = {
  rs: "rust", ts: "typescript", tsx: "tsx", js: "javascript", mjs: "javascript", jsx: "jsx", py: "python", go: "go", java: "java",
  json: "json", toml: "toml", yml: "yaml", yaml: "yaml", sh: "bash", bash: "bash", md: "markdown", css: "css", html: "markup",
  xml: "markup", svg: "markup", sql: "sql", c: "c", h: "c", rb: "ruby",
};

export function languageOf(path: string): string | null {
  return LANGUAGES[path.split(".").pop()?.toLowerCase() ?? ""] ?? null;
}
