import { beforeEach, describe, expect, it } from "vitest";
import { discardUnsent, loadDraft, placed, remarksOf, review, saveDraft, unsentComments, type ReviewState } from "../src/diff/comments";
import type { ApprovalDetail } from "../src/api/types";
import { changeAt, hunksOf, keyOf, languageOf, lineOf } from "../src/diff/patch";
import { editedInPlace, tokensOf } from "../src/diff/highlight";

const HUNK = "@@ -1,3 +1,4 @@\n keep\n-old line\n+new line\n+another\n end\n";

describe("patches", () => {
  it("read the same with a git header, a plain header or none, and with spaces in the path", () => {
    const bare = hunksOf(HUNK);
    expect(bare).toHaveLength(1);
    for (const head of ["--- a/x\n+++ b/x\n", "diff --git a/my file.rs b/my file.rs\nindex 1..2 100644\n--- a/my file.rs\n+++ b/my file.rs\n", "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n"]) {
      expect(hunksOf(head + HUNK)).toEqual(bare);
    }
    expect(hunksOf("rename only\n")).toEqual([]);
    expect(hunksOf("")).toEqual([]);
  });

  it("name every line by side and number, and find it again", () => {
    const hunks = hunksOf(HUNK);
    for (const change of hunks[0]?.changes ?? []) {
      const found = changeAt(hunks, lineOf(change));
      expect(found && keyOf(found)).toBe(keyOf(change));
    }
    expect(changeAt(hunks, { side: "old", line: 2 })?.type).toBe("delete");
    expect(changeAt(hunks, { side: "new", line: 3 })?.content).toBe("another");
    expect(changeAt(hunks, { side: "new", line: 99 })).toBeUndefined();
  });

  it("mark words only where lines were changed in place", () => {
    const even = hunksOf("@@ -1,1 +1,1 @@\n-a b\n+a c\n");
    expect(editedInPlace(even)[0]?.changes).toHaveLength(2);
    expect(editedInPlace(hunksOf(HUNK))[0]?.changes.map((change) => change.type)).toEqual(["normal", "normal"]);
  });

  it("are coloured by language, and never fail on an unknown one", () => {
    expect(languageOf("src/a.RS")).toBe("rust");
    expect(languageOf("Makefile")).toBeNull();
    const hunks = hunksOf(HUNK);
    for (const language of ["rust", "no-such-language", null]) expect(tokensOf(hunks, language)?.new.length).toBeGreaterThan(0);
  });
});

describe("line comments", () => {
  const at = (line: number, path = "b.rs") => ({ path, side: "new" as const, line });
  const empty: ReviewState = { comments: [], editing: null };

  it("are collected in the order they are read, one per line", () => {
    let state = review(empty, { type: "open", ...at(9) });
    expect(state.editing).toEqual(at(9));
    state = review(state, { type: "save", ...at(9), body: " later " });
    state = review(state, { type: "save", ...at(2), body: "first" });
    state = review(state, { type: "save", ...at(5, "a.rs"), body: "other file" });
    state = review(state, { type: "save", ...at(9), body: "changed my mind" });
    expect(state.comments.map((comment) => [comment.path, comment.line, comment.body])).toEqual([["a.rs", 5, "other file"], ["b.rs", 2, "first"], ["b.rs", 9, "changed my mind"]]);
    expect(state.editing).toBeNull();
  });

  it("are drafts from the first letter on, while their editor stays open", () => {
    let state = review(empty, { type: "open", ...at(9) });
    state = review(state, { type: "write", ...at(9), body: "half a tho" });
    expect(state).toEqual({ comments: [{ ...at(9), body: "half a tho" }], editing: at(9) });
    expect(review(state, { type: "write", ...at(9), body: "half a tho " })).toBe(state);
    // Another line is opened: nothing of the first is lost.
    state = review(state, { type: "open", ...at(2) });
    expect(state.comments).toHaveLength(1);
    expect(review(state, { type: "write", ...at(9), body: "" }).comments).toEqual([]);
  });

  it("disappear when emptied, removed or sent", () => {
    const one = review(empty, { type: "save", ...at(1), body: "x" });
    expect(review(one, { type: "save", ...at(1), body: "  " }).comments).toEqual([]);
    expect(review(one, { type: "remove", ...at(1) }).comments).toEqual([]);
    expect(review(one, { type: "clear" })).toEqual(empty);
  });

  describe("as a draft", () => {
    beforeEach(() => sessionStorage.clear());
    it("outlive a reload, but not a change of what is asked", () => {
      const { comments } = review(empty, { type: "save", ...at(1), body: "x" });
      saveDraft("a1", "d1", comments);
      expect(loadDraft("a1", "d1").comments).toEqual(comments);
      expect(loadDraft("a1", "d2").comments).toEqual([]);
      saveDraft("a1", "d1", []);
      expect(sessionStorage.length).toBe(0);
    });
    it("on a version that is gone are unsent, until they are let go", () => {
      saveDraft("a1", "d1", [{ ...at(1), body: "x" }]);
      saveDraft("a1", "d2", [{ ...at(2), body: "y" }]);
      saveDraft("a2", "d1", [{ ...at(3), body: "another question" }]);
      expect(unsentComments("a1", "d2").map((comment) => comment.body)).toEqual(["x"]);
      expect(unsentComments("a1")).toHaveLength(2);
      discardUnsent("a1", "d2");
      expect([unsentComments("a1").length, unsentComments("a2").length]).toEqual([1, 1]);
    });
    it("ignore what someone else left in the storage", () => {
      sessionStorage.setItem("syndarix-review:a1:d1", '[{"path":1},"x"]');
      expect(loadDraft("a1", "d1").comments).toEqual([]);
      sessionStorage.setItem("syndarix-review:a1:d1", "{broken");
      expect(loadDraft("a1", "d1").comments).toEqual([]);
    });
  });
});

describe("remarks of earlier rounds", () => {
  const author = { type: "user", name: "Maria" };
  const approval = (extra: object) => ({ state: "pending", requested_at: "2026-11-20T12:00:00Z", comments: [], pull_request: { comments: [
    { author, body: "On a line", path: "a.rs", line: 3, side: "new", at: "2026-11-20T11:00:00Z" },
    { author, body: "On the whole", path: null, line: null, side: "new", at: "2026-11-20T11:00:00Z" },
    { author, body: "In another file", path: "gone.rs", line: 1, side: "old", at: "2026-11-20T13:00:00Z" },
  ] }, ...extra }) as unknown as ApprovalDetail;

  it("stand beside their lines; those without a place stand above", () => {
    const { inDiff, general } = placed(remarksOf(approval({})), ["a.rs"]);
    expect(inDiff.map((remark) => [remark.by, remark.body])).toEqual([["Maria", "On a line"]]);
    expect(general.map((remark) => remark.body)).toEqual(["On the whole", "In another file"]);
  });

  it("of a decided question are those before it, and its own once", () => {
    const own = [{ path: "a.rs", line: 4, side: "new", body: "Mine" }];
    const remarks = remarksOf(approval({ state: "changes_requested", comments: own }));
    expect(remarks.map((remark) => remark.body)).toEqual(["On a line", "On the whole", "Mine"]);
  });
});
