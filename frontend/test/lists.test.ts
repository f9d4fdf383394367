import { QueryClient } from "@tanstack/react-query";
import { describe, expect, it, vi } from "vitest";
import { acceptDecision } from "../src/api/actions";
import { keys } from "../src/api/keys";
import { allOf, approvalPlace, type ApprovalPage } from "../src/api/queries";
import type { Approval, ApprovalDetail, Page } from "../src/api/types";

/** A server that gives `size` items to a page, out of `all`. */
function server(all: { id: string }[], size: number) {
  const asked: string[] = [];
  vi.stubGlobal("fetch", async (path: string) => {
    asked.push(path);
    const from = Number(new URL(path, "http://x").searchParams.get("cursor") ?? 0);
    const next = from + size < all.length ? String(from + size) : null;
    return new Response(JSON.stringify({ items: all.slice(from, from + size), next_cursor: next, unresolved: all.length }));
  });
  return asked;
}
const items = (count: number) => Array.from({ length: count }, (_, index) => ({ id: `i${index}`, project_id: `p${index}` }));
const { signal } = new AbortController();

describe("a long list", () => {
  it("is read to its end", async () => {
    const asked = server(items(450), 200);
    expect((await allOf<Page<{ id: string }>>("/x", signal)).items).toHaveLength(450);
    expect(asked).toHaveLength(3);
  });

  it("that is longer than the cap says that there is more", async () => {
    server(items(500), 200);
    const page = await allOf<Page<{ id: string }>>("/x", signal, {}, 400);
    expect([page.items.length, page.next_cursor]).toEqual([400, "400"]);
  });

  it("shows an item once, also when it moved to the next page meanwhile", async () => {
    server([...items(3), { id: "i2" }, { id: "i9" }], 3);
    expect((await allOf<Page<{ id: string }>>("/x", signal)).items.map((item) => item.id)).toEqual(["i0", "i1", "i2", "i9"]);
  });

  it("finds an approval by its id, however old it is, and says when there is none", async () => {
    server(items(450), 200);
    const client = new QueryClient();
    expect(await client.fetchQuery(approvalPlace("i449"))).toBe("p449");
    expect(await client.fetchQuery(approvalPlace("nowhere"))).toBeNull();
  });
});

describe("a decision that the server took", () => {
  it("is shown at once by the page and by the inbox", () => {
    const client = new QueryClient();
    const asked = { id: "a", project_id: "p", state: "pending" };
    client.setQueryData(keys.approval("p", "a"), { ...asked, diff: { files: [] } });
    client.setQueryData([...keys.approvals(), "pending"], { items: [asked], unresolved: 3 });
    acceptDecision(client, { ...asked, state: "approved" } as Approval);
    expect(client.getQueryData<ApprovalDetail>(keys.approval("p", "a"))).toMatchObject({ state: "approved", diff: { files: [] } });
    expect(client.getQueryData<ApprovalPage>([...keys.approvals(), "pending"])).toMatchObject({ items: [], unresolved: 2 });
  });
});
