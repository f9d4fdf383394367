import { beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError, api } from "../src/api/client";
import { acceptSession, accessToken, dropSession, refreshSession, sessionState } from "../src/api/session";

const user = { id: "u", email: "m@example.org", name: "Maria" };
const session = (token: string) => ({ access_token: token, token_type: "Bearer", expires_in: 900, refresh_token: "r", user });
const json = (body: unknown, status = 200) => new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });

function server(handle: (path: string, init: RequestInit) => Response) {
  const calls: { path: string; token: string | null }[] = [];
  vi.stubGlobal("fetch", async (path: string, init: RequestInit) => {
    calls.push({ path, token: new Headers(init.headers).get("Authorization") });
    return handle(path, init);
  });
  return calls;
}

describe("the session", () => {
  beforeEach(() => {
    dropSession();
    acceptSession(session("old"));
  });

  it("is refreshed once for many requests that expire together, and each is sent again", async () => {
    let refreshes = 0;
    server((path, init) => {
      if (path.endsWith("/auth/refresh")) {
        refreshes += 1;
        return json(session("new"));
      }
      return new Headers(init.headers).get("Authorization") === "Bearer new" ? json({ ok: true }) : json({ status: 401, code: "expired" }, 401);
    });
    const answers = await Promise.all([api("/me"), api("/projects"), api("/approvals")]);
    expect(answers).toEqual([{ ok: true }, { ok: true }, { ok: true }]);
    expect(refreshes).toBe(1);
    expect(accessToken()).toBe("new");
  });

  it("ends when the refresh is refused, and the refusal is the error", async () => {
    server((path) => json({ status: 401, code: path.endsWith("/auth/refresh") ? "no_session" : "expired", detail: "Sign in." }, 401));
    await expect(api("/me")).rejects.toMatchObject({ status: 401, code: "expired" });
    expect(sessionState().status).toBe("signed_out");
  });

  it("survives a server that is restarting, busy, or not there at all", async () => {
    for (const status of [503, 429, 404]) {
      server(() => json({ status }, status));
      expect(await refreshSession()).toBe(false);
    }
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("network")));
    expect(await refreshSession()).toBe(false);
    expect(sessionState().status).toBe("signed_in");
  });

  it("a wrong password is not answered by a refresh", async () => {
    const calls = server(() => json({ status: 401, code: "wrong_credentials", detail: "Wrong." }, 401));
    await expect(api("/auth/login", { method: "POST", form: { username: "a", password: "b" } })).rejects.toBeInstanceOf(ApiError);
    expect(calls).toHaveLength(1);
  });
});

describe("refusals", () => {
  it("keep code, field errors and extras", async () => {
    server(() => json({ status: 409, code: "illegal_transition", detail: "No.", guard: "pull_request_merged", legal_from: ["review"], errors: [{ field: "title", message: "too long" }] }, 409));
    const error = await api("/x").catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ApiError);
    expect((error as ApiError).body["guard"]).toBe("pull_request_merged");
    expect((error as ApiError).field("title")).toBe("too long");
  });

  it("are readable even when the answer is not JSON, or never came", async () => {
    server(() => new Response("<html>bad gateway</html>", { status: 502, statusText: "Bad Gateway" }));
    await expect(api("/x")).rejects.toMatchObject({ status: 502, message: "Bad Gateway" });
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("network")));
    await expect(api("/x")).rejects.toMatchObject({ status: 0, code: "unreachable" });
  });
});
