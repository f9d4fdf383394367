import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Calls } from "../src/costs/Calls";
import { isCallId } from "../src/costs/calls";
import { callWay, usageCalls } from "./mock/calls.mjs";

vi.mock("@tanstack/react-router", () => ({ Link: ({ children, to }: { children: React.ReactNode; to: string }) => <a href={to}>{children}</a> }));

/** A call for which every deployment was left alone. */
const ASKED_NOBODY = "0192f000-0000-7000-8000-0000000000aa";

describe("the list of calls", () => {
  const asked: string[] = [];
  const ways: string[] = [];
  beforeEach(() => {
    asked.length = 0;
    ways.length = 0;
    vi.stubGlobal("fetch", vi.fn(async (address: string) => {
      const { pathname, searchParams: query } = new URL(String(address), "http://localhost");
      const of = /usage\/calls\/(.+)$/.exec(pathname)?.[1];
      if (of === ASKED_NOBODY) return new Response(JSON.stringify({ call_id: of, attempts: [], skipped: [{ deployment: "large-2", kind: "cooling_down", reason: "cooling down for another 8 s", times: 1, at: "2026-11-29T10:00:00Z" }] }));
      if (of) {
        ways.push(of);
        const way = callWay(of);
        return way ? new Response(JSON.stringify(way)) : new Response(JSON.stringify({ status: 404, detail: "there is none" }), { status: 404 });
      }
      asked.push(query.get("call_id") ?? "all");
      const call = query.get("call_id");
      return new Response(JSON.stringify({ items: usageCalls.filter((one) => call === null || one.call_id === call) }));
    }));
  });
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });
  const show = () => render(<QueryClientProvider client={new QueryClient()}><Calls projectId="p-1" /></QueryClientProvider>);
  const rows = async () => {
    const table = within(await screen.findByRole("table"));
    const heads = table.getAllByRole("columnheader").map((head) => head.textContent);
    return table.getAllByRole("row").slice(1).map((row) => Object.fromEntries(within(row).getAllByRole("cell").map((cell, index) => [heads[index] ?? "", cell.textContent])));
  };

  it("says with which key a call came, whom it went to, and what it failed of in words", async () => {
    show();
    const [second, first] = await rows();
    expect([first?.["Asked by"], first?.Model, first?.Cause]).toEqual(["Nightly report", "large-2scripted/large-2", "Rate limited: 429 Too Many Requests: come back in 30 s"]);
    expect([second?.Model, second?.Latency, second?.Cause]).toEqual(["smallscripted/small-1 (attempt 2)cheaper: small", "5.2 sfirst token after 640 ms", "–"]);
    expect((await rows()).at(-1)).toMatchObject({ "Asked by": "Ada", "Tokens in / out": "11,800 / 920", Cause: "–" });
  });

  it("names the person whose key it was, and the key below", async () => {
    show();
    expect((await rows())[3]?.["Asked by"]).toBe("Tom WeberNotebook");
    expect(screen.getByText("Notebook").className).toContain("text-soft");
  });

  it("marks below its model what was cheaper, known already, or has no price, and leaves the cause its room", async () => {
    show();
    const all = await rows();
    expect(all.slice(0, 4).map((row) => row.Outcome)).toEqual(["Settled", "Failed", "Settled", "Interrupted"]);
    expect(all.slice(0, 4).map((row) => row.Model?.replace(/^.*(?:small-1 \(attempt 2\)|-2|-model)/, ""))).toEqual(["cheaper: small", "", "from the cache", "price unknownestimated"]);
    expect(Object.keys(all[0] ?? {}).length).toBe(8);
  });

  it("opens a call to the way that it took, by keyboard too, and asks for none that nobody opens", async () => {
    show();
    await rows();
    const row = document.querySelector(`[data-call="${usageCalls[4]?.call_id ?? ""}"]`) as HTMLElement;
    expect(row.textContent).toContain("1 passed over");
    expect(ways).toEqual([]);
    const button = within(row).getByRole("button", { name: /^The way of the call to small/ });
    expect([button.tagName, button.getAttribute("aria-expanded")]).toEqual(["BUTTON", "false"]);
    fireEvent.click(button);
    const way = await screen.findByRole("region", { name: /^The way it took/ });
    expect(document.getElementById(button.getAttribute("aria-controls") ?? "")?.contains(way)).toBe(true);
    expect([...way.querySelectorAll("[data-attempt]")].map((one) => one.getAttribute("data-attempt"))).toEqual(["settled", "skipped"]);
    expect(way.textContent).toMatch(/large-2passed over––cooling down for another 8 s3 times, the last time at /);
    expect(ways).toEqual([usageCalls[4]?.call_id]);
    fireEvent.click(button);
    expect(screen.queryByRole("region", { name: /^The way it took/ })).toBeNull();
  });

  it("finds a call for which nobody was asked, with everyone that it passed over", async () => {
    show();
    await rows();
    fireEvent.change(screen.getByRole("searchbox"), { target: { value: ASKED_NOBODY } });
    const way = await screen.findByRole("region", { name: /^The way it took/ });
    expect(way.textContent).toContain("cooling down for another 8 s");
    expect(way.textContent).not.toContain("last time at");
  });

  it("finds a call by the id that its client was told, and asks for none that cannot be one", async () => {
    show();
    await rows();
    const type = (value: string) => fireEvent.change(screen.getByRole("searchbox"), { target: { value } });
    const call = usageCalls[0]?.call_id ?? "";
    type(` ${call} `);
    await waitFor(async () => expect((await rows()).length).toBe(2));
    type(call.slice(0, 20));
    await screen.findByText("No call of this project has this id");
    type("00000000-0000-0000-0000-000000000000");
    await waitFor(() => expect(asked).toEqual(["all", call, "00000000-0000-0000-0000-000000000000"]));
    await screen.findByText("No call of this project has this id");
  });
});

describe("an id of a call", () => {
  it("is a UUID and nothing else", () => {
    expect(["0192f000-0000-7000-8000-00000000000a", "0192F000-0000-7000-8000-00000000000A"].map(isCallId)).toEqual([true, true]);
    expect(["", "0192f000", "0192f000-0000-7000-8000-00000000000a?", "x192f000-0000-7000-8000-00000000000a"].map(isCallId)).toEqual([false, false, false, false]);
  });
});
