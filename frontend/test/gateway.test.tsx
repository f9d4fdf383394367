import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { effectsOf } from "../src/api/live";
import type { GatewayKey, Project } from "../src/api/types";
import { NOTHING, heard, readAnswer, tokenLimit } from "../src/gateway/answer";
import { aloneFor, causesIn, errorRate, errorTone, failureOf } from "../src/gateway/health";
import { EMPTY_FORM, environment, formOf, keyState, localTime, previousUntil, settingsOf } from "../src/gateway/keys";
import { Keys } from "../src/gateway/Keys";
import { Models } from "../src/gateway/Models";
import { Playground } from "../src/gateway/Playground";
import { health, gatewayKeys } from "./mock/gateway.mjs";
import { projects } from "./mock/data.mjs";

vi.mock("@tanstack/react-router", () => ({ Link: ({ children, to, search }: { children: React.ReactNode; to: string; search?: Record<string, string> }) => <a href={`${to}?${new URLSearchParams(search).toString()}`}>{children}</a> }));

const NOW = Date.parse("2026-11-29T12:00:00Z");
const [KEY] = gatewayKeys as [GatewayKey];
const [PROJECT] = projects as [Project];

describe("a key", () => {
  it("is good until it is revoked or has ended", () => {
    expect(keyState({ revoked_at: null, expires_at: null }, NOW)).toBe("active");
    expect(keyState({ expires_at: "2026-11-29T12:00:00Z" }, NOW)).toBe("ended");
    expect(keyState({ expires_at: "2026-11-29T12:00:01Z" }, NOW)).toBe("active");
    expect(keyState({ revoked_at: "2026-11-29T11:00:00Z", expires_at: "2026-11-28T12:00:00Z" }, NOW)).toBe("revoked");
  });
  it("has a secret before until its overlap is over", () => {
    expect(previousUntil({}, NOW)).toBeNull();
    expect(previousUntil({ previous_until: "2026-11-29T12:00:00Z" }, NOW)).toBeNull();
    expect(previousUntil({ previous_until: "2026-11-29T12:00:01Z" }, NOW)).toBe("2026-11-29T12:00:01Z");
  });
  it("that is written with nothing but a name has no limits", () => {
    expect(settingsOf({ ...EMPTY_FORM, name: " Report " }, NOW)).toEqual({ settings: { name: "Report", models: null, requests_per_minute: null, tokens_per_minute: null, hard_limit_micro_usd: null, expires_at: null, agent_id: null, user_id: null } });
  });
  it("is refused by the field that is wrong, all of them at once", () => {
    const result = settingsOf({ name: " ", models: [], requests: "0", tokens: "1.5", budget: "ten", ends: localTime(new Date(NOW - 60_000)), owner: "" }, NOW);
    expect(Object.keys("errors" in result ? result.errors : {}).toSorted()).toEqual(["budget", "ends", "name", "requests", "tokens"]);
  });
  it("comes out of its form as it went in", () => {
    const key: GatewayKey = { ...KEY, agent_id: "a-1", user_id: null, hard_limit_micro_usd: 12_500_000, expires_at: "2026-12-24T17:30:00.000Z" };
    const result = settingsOf(formOf(key), NOW);
    expect(result).toEqual({ settings: { name: key.name, models: key.models, requests_per_minute: 60, tokens_per_minute: 200_000, hard_limit_micro_usd: 12_500_000, expires_at: key.expires_at, agent_id: "a-1", user_id: null } });
  });
  it("gives two lines to paste, each with the address of its format", () => {
    expect(environment("https://sdx.example", "sk-1")).toEqual({
      openai: "export OPENAI_BASE_URL=https://sdx.example/v1 OPENAI_API_KEY=sk-1",
      anthropic: "export ANTHROPIC_BASE_URL=https://sdx.example ANTHROPIC_API_KEY=sk-1",
    });
  });
});

describe("the health of a deployment", () => {
  it("has a rate only when there were calls, and a tone only when many failed", () => {
    const recent = (requests: number, failures: number) => errorRate({ requests, failures });
    expect([recent(0, 0), recent(4, 1)]).toEqual([null, 0.25]);
    expect([null, 0, 0.01, 0.05, 0.25].map(errorTone)).toEqual(["neutral", "neutral", "neutral", "warn", "bad"]);
  });
  it("counts down while it cools down, and never below a second", () => {
    expect(aloneFor({ state: "open", until: "2026-11-29T12:00:30Z" }, NOW)).toBe(30_000);
    expect(aloneFor({ state: "open", until: "2026-11-29T11:59:59Z" }, NOW)).toBe(1_000);
    expect(aloneFor({ state: "half_open", until: null }, NOW)).toBeNull();
  });
  it("says what it failed of in words, and leaves what it does not know", () => {
    expect(failureOf("overloaded", "busy: come back")).toBe("Overloaded: busy: come back");
    expect(failureOf("auth", "no such key")).toBe("Key refused: no such key");
    for (const kind of [null, undefined, "strange", "constructor"]) expect(failureOf(kind, "auth: as it came")).toBe("auth: as it came");
    expect(causesIn("nobody answered: #1 a: timeout: nothing within 60s; #2 b: rate_limited: slow down")).toBe("nobody answered: #1 a: Timed out: nothing within 60s; #2 b: Rate limited: slow down");
    for (const text of ["strange: thing", "constructor: thing", "nothing like it"]) expect(causesIn(text)).toBe(text);
  });
  it("is read anew when a call was paid for, and the keys when one was changed", () => {
    const names = (type: string) => effectsOf({ type, time: "", project_id: "p", data: {} }).invalidate.map((key) => key[2]);
    expect(names("cost.recorded.v1")).toContain("gateway");
    expect(names("cost.recorded.v1")).not.toContain("gateway-keys");
    expect(names("gateway_key.changed.v1")).toEqual(["gateway-keys", "audit"]);
  });
});

describe("an answer", () => {
  const frame = (event: string, data: unknown) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  it("grows with every event, and what is unreadable or unknown changes nothing", () => {
    const said = [{ event: "text", data: '{"text":"one "}' }, { event: "text", data: "{broken" }, { event: "later", data: "{}" }, { event: "text", data: '{"text":"two"}' }].reduce(heard, NOTHING);
    expect(said).toEqual({ ...NOTHING, text: "one two" });
  });
  it("is read whole from a stream that is cut anywhere", async () => {
    const bytes = new TextEncoder().encode(`: keep-alive\n\n${frame("head", { deployment: "d" })}${frame("text", { text: "hé" })}${frame("end", { stop: "end_turn" })}`);
    const body = new ReadableStream<Uint8Array>({ start(controller) { for (let at = 0; at < bytes.length; at += 3) controller.enqueue(bytes.slice(at, at + 3)); controller.close(); } });
    const answer = await readAnswer(body, () => undefined);
    expect([answer.head?.deployment, answer.text, answer.end?.stop]).toEqual(["d", "hé", "end_turn"]);
  });
  it("may have from 1 to 128,000 tokens", () => {
    expect(["1", " 512 ", "128000", "0", "128001", "-1", "1.5", ""].map(tokenLimit)).toEqual([1, 512, 128_000, null, null, null, null, null]);
  });
});

/** Pages over a server that answers what a case wants. */
describe("the pages of the gateway", () => {
  const sent: { method: string; path: string; body: unknown }[] = [];
  let answers: Record<string, unknown> = {};
  beforeEach(() => {
    sent.length = 0;
    HTMLDialogElement.prototype.showModal ??= function showModal(this: HTMLDialogElement) { this.open = true; };
    HTMLElement.prototype.scrollIntoView ??= () => undefined;
    vi.stubGlobal("fetch", vi.fn(async (address: string, init: RequestInit = {}) => {
      const path = String(address).replace(/^.*\/projects\/[^/]+/, "").replace(/\?.*/, "");
      const method = init.method ?? "GET";
      if (method !== "GET") sent.push({ method, path, body: init.body ? JSON.parse(String(init.body)) : null });
      const answer = answers[`${method} ${path}`] ?? answers[path];
      if (answer instanceof Response) return answer.clone();
      return new Response(answer === undefined ? "{}" : JSON.stringify(answer), { status: answer === undefined ? 404 : 200 });
    }));
    answers = { "/gateway/deployments": health, "/gateway-keys": { items: gatewayKeys }, "/agents": { items: [] }, "/members": { items: [] } };
  });
  afterEach(() => {
    cleanup();
    vi.unstubAllGlobals();
  });
  const show = (page: React.ReactNode) => render(<QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}>{page}</QueryClientProvider>);
  const keysPage = (project: Project = PROJECT, writing = false) => show(<Keys project={project} writing={writing} onWriting={() => undefined} />);

  it("show every group with its chain, and which deployments cool down", async () => {
    show(<Models project={PROJECT} />);
    const [groups] = await screen.findAllByRole("region", { name: "Model groups" }) as [HTMLElement];
    expect(within(groups).getByText("code").closest("tr")?.textContent).toContain("large×3: Cooling down");
    expect(within(groups).getByText("first by weight, then in this order; a second one is asked as well after 2.5 s without a word; past a soft limit, or where a hard one would not pay: fast-response")).toBeTruthy();
    expect(screen.getByText("large is cooling down")).toBeTruthy();
    const row = document.querySelector('[data-deployment="large"]');
    for (const words of ["anthropic/claude-large-2", "214", "33%", "8.4 s", "31 s", "1.2 s", "200K", "Overloaded: Overloaded: the service"]) expect(row?.textContent).toContain(words);
    expect(document.querySelector('[data-deployment="local"]')?.textContent).toContain("unknown");
    expect(document.querySelector('[data-deployment="embed"]')?.textContent).toContain("no calls");
  });

  it("say what to do when no model is configured, and offer a second try when the list is not there", async () => {
    answers["/gateway/deployments"] = { ...health, groups: [], deployments: [] };
    show(<Models project={PROJECT} />);
    expect(await screen.findByText("No model is configured")).toBeTruthy();
    cleanup();
    answers["/gateway/deployments"] = new Response(JSON.stringify({ status: 503, code: "stopping", detail: "it stops" }), { status: 503 });
    show(<Models project={PROJECT} />);
    expect((await screen.findByRole("alert")).textContent).toContain("it stops");
    answers["/gateway/deployments"] = health;
    fireEvent.click(screen.getByRole("button", { name: "Try again" }));
    expect(await screen.findByText("fast-response")).toBeTruthy();
  });

  it("keep keys that are over apart, and give a reader nothing to press", async () => {
    keysPage({ ...PROJECT, role: "viewer" });
    expect(await screen.findByText("2 keys that are over")).toBeTruthy();
    expect([...document.querySelectorAll("[data-key]")].map((row) => row.getAttribute("data-key-state"))).toEqual(["active", "active", "active"]);
    expect(screen.queryByRole("button", { name: /New key|^Actions/ })).toBeNull();
  });

  it("show the secret of a new key, and keep it in no cache", async () => {
    const client = new QueryClient();
    answers["POST /gateway-keys"] = { key: KEY, secret: "sk-sdx-the-secret" };
    render(<QueryClientProvider client={client}><Keys project={PROJECT} writing onWriting={() => undefined} /></QueryClientProvider>);
    fireEvent.change(await screen.findByLabelText("Name"), { target: { value: "Report" } });
    fireEvent.click(await screen.findByLabelText("code"));
    fireEvent.click(screen.getByText("Create"));
    expect(await screen.findByText("sk-sdx-the-secret")).toBeTruthy();
    expect(sent).toEqual([{ method: "POST", path: "/gateway-keys", body: expect.objectContaining({ name: "Report", models: ["code"] }) }]);
    expect(screen.getByText(/^export OPENAI_BASE_URL=.*OPENAI_API_KEY=sk-sdx-the-secret$/)).toBeTruthy();
    const kept = JSON.stringify([client.getQueryCache().getAll().map((query) => query.state), client.getMutationCache().getAll().map((mutation) => mutation.state)]);
    expect(kept).not.toContain("sk-sdx-the-secret");
    fireEvent.click(screen.getByText("I have stored it"));
    await waitFor(() => expect(screen.queryByText("sk-sdx-the-secret")).toBeNull());
  });

  it("rotate a key at once unless an overlap is chosen, and show which key has two secrets", async () => {
    const [, editor] = gatewayKeys as [GatewayKey, GatewayKey];
    const rotations = () => sent.filter((one) => one.path.endsWith("/rotate")).map((one) => one.body);
    const begin = async (key: GatewayKey) => {
      fireEvent.keyDown(await screen.findByRole("button", { name: `Actions: ${key.name}` }), { key: "Enter" });
      fireEvent.click(await screen.findByRole("menuitem", { name: "Rotate" }));
      return within(await screen.findByRole("dialog"));
    };
    for (const key of [KEY, editor]) answers[`POST /gateway-keys/${key.id}/rotate`] = { key, secret: "sk-sdx-the-next" };
    keysPage();
    await screen.findByText(editor.name);
    expect([...document.querySelectorAll("[data-previous]")].map((one) => one.closest("[data-key]")?.getAttribute("data-key"))).toEqual([editor.id]);

    let dialog = await begin(KEY);
    expect(dialog.queryByText(/two at the most/)).toBeNull();
    fireEvent.click(dialog.getByRole("button", { name: "Rotate" }));
    fireEvent.click(await screen.findByText("I have stored it"));
    dialog = await begin(editor);
    expect(dialog.getByText(/two at the most/)).toBeTruthy();
    fireEvent.change(dialog.getByLabelText("The secret in use"), { target: { value: "86400" } });
    fireEvent.click(dialog.getByRole("button", { name: "Rotate" }));
    await screen.findByText("sk-sdx-the-next");
    expect(rotations()).toEqual([{ overlap_seconds: 0 }, { overlap_seconds: 86_400 }]);
  });

  it("send no key that has no name", async () => {
    keysPage(PROJECT, true);
    fireEvent.click(await screen.findByText("Create"));
    expect(screen.getByLabelText("Name").getAttribute("aria-invalid")).toBe("true");
    expect(sent).toEqual([]);
  });

  it("stream an answer, and end with the way it took", async () => {
    const end = { call_id: "c", stop: "end_turn", error: null, downgraded_to: "fast-response", skipped: [{ deployment: "local", reason: "cooling down for another 8 s" }], cost_micro_usd: 0, simulated_micro_usd: 519, tokens_in: 18, tokens_out: 31, attempts: [
      { attempt: 1, deployment: "large", provider: "anthropic", model: "m", outcome: "failed", error_kind: "auth", error: "no such key", latency_ms: 12, first_content_ms: null, tokens_in: 0, tokens_out: 0, cost_micro_usd: 0, simulated: false, estimated: false, unpriced: false },
      { attempt: 2, deployment: "small", provider: "scripted", model: "s", outcome: "settled", error_kind: null, error: null, latency_ms: 640, first_content_ms: 90, tokens_in: 18, tokens_out: 31, cost_micro_usd: 519, simulated: true, estimated: false, unpriced: false },
    ] };
    answers["POST /gateway/playground"] = new Response(`event: head\ndata: {"deployment":"small","simulated":true,"dropped":[]}\n\nevent: text\ndata: {"text":"Half to even."}\n\nevent: end\ndata: ${JSON.stringify(end)}\n\n`);
    show(<Playground project={PROJECT} model={undefined} onModel={() => undefined} />);
    fireEvent.change(await screen.findByLabelText("Question"), { target: { value: "Which way?" } });
    fireEvent.click(screen.getByRole("button", { name: /^Ask/ }));
    const [way] = await screen.findAllByRole("region", { name: "The way it took" }) as [HTMLElement];
    expect(sent[0]?.body).toEqual({ model: "code", prompt: "Which way?", max_tokens: 1_024 });
    expect(document.querySelector("[data-answer-text]")?.textContent).toBe("Half to even.");
    expect(screen.getAllByText("simulated").length).toBeGreaterThan(0);
    expect([...document.querySelectorAll("[data-attempt]")].map((row) => row.getAttribute("data-attempt"))).toEqual(["failed", "settled", "skipped"]);
    expect(way.textContent).toContain("the cheaper group fast-response was asked instead");
    expect(way.textContent).toContain("Key refused: no such key");
    expect(way.textContent).toContain("cooling down for another 8 s");
  });

  it("tell a stream that ends without an end from one that is whole", async () => {
    answers["POST /gateway/playground"] = new Response('event: text\ndata: {"text":"Half"}\n\n');
    show(<Playground project={PROJECT} model={undefined} onModel={() => undefined} />);
    fireEvent.change(await screen.findByLabelText("Question"), { target: { value: "Which way?" } });
    fireEvent.click(screen.getByRole("button", { name: /^Ask/ }));
    expect(await screen.findByText(/The connection broke/)).toBeTruthy();
  });

  it("put a refusal at its field, and let nobody ask who may not spend", async () => {
    answers["POST /gateway/playground"] = new Response(JSON.stringify({ status: 422, code: "invalid", detail: "prompt: too long", errors: [{ field: "prompt", message: "must be shorter" }] }), { status: 422 });
    show(<Playground project={PROJECT} model={undefined} onModel={() => undefined} />);
    fireEvent.change(await screen.findByLabelText("Question"), { target: { value: "Which way?" } });
    fireEvent.click(screen.getByRole("button", { name: /^Ask/ }));
    expect(await screen.findByText("must be shorter")).toBeTruthy();
    cleanup();
    show(<Playground project={{ ...PROJECT, role: "approver" }} model={undefined} onModel={() => undefined} />);
    expect(await screen.findByText(/only those who may start work/)).toBeTruthy();
    expect(document.querySelector("fieldset")?.disabled).toBe(true);
  });
});
