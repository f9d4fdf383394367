import { describe, expect, it } from "vitest";
import { byTag, example, fieldsOf, matches, operationsOf, typeName, type ApiDocument } from "../src/docs/document";
import { curl, missing, prepare } from "../src/docs/request";

const api: ApiDocument = {
  info: { title: "Syndarix", version: "1" },
  security: [{ bearer: [] }],
  paths: {
    "/api/v1/auth/login": { post: { operationId: "login", tags: ["auth"], security: [], requestBody: { content: { "application/x-www-form-urlencoded": { schema: { $ref: "#/components/schemas/Login" } } } }, responses: { 200: { description: "ok" } } } },
    "/api/v1/projects/{project_id}/stories": {
      get: { operationId: "list_stories", tags: ["stories"], summary: "The stories.", parameters: [{ name: "project_id", in: "path" }, { name: "phase", in: "query" }] },
      post: { operationId: "create_story", tags: ["stories"], parameters: [{ name: "project_id", in: "path", required: true }, { name: "Idempotency-Key", in: "header" }], requestBody: { required: true, content: { "application/json": { schema: { $ref: "#/components/schemas/Story" } } } }, responses: { 201: { content: { "application/json": { schema: { $ref: "#/components/schemas/Story" } } } } } },
    },
  },
  components: {
    schemas: {
      Login: { type: "object", required: ["username"], properties: { username: { type: "string" } } },
      Owner: { type: "object", required: ["kind"], properties: { kind: { type: "string", enum: ["agent", "human"] }, of: { oneOf: [{ type: "null" }, { $ref: "#/components/schemas/Story" }] } } },
      Story: { allOf: [{ $ref: "#/components/schemas/Owner" }, { type: "object", required: ["title"], properties: { title: { type: "string" }, points: { type: ["integer", "null"] }, owners: { type: "array", items: { $ref: "#/components/schemas/Owner" } } } }] },
    },
  },
};
const operations = operationsOf(api);
const create = operations.find((operation) => operation.id === "create_story")!;

describe("the API page", () => {
  it("lists operations by tag and finds them by any words", () => {
    expect(byTag(operations).map(([tag, items]) => [tag, items.map((item) => item.id)])).toEqual([["auth", ["login"]], ["stories", ["list_stories", "create_story"]]]);
    expect(operations.filter((operation) => matches(operation, "stories post")).map((operation) => operation.id)).toEqual(["create_story"]);
  });

  it("knows which operations take no access token", () => {
    expect(operations.map((operation) => operation.secured)).toEqual([false, true, true]);
  });

  it("gives a body to begin with, although schemas refer to each other", () => {
    const body = create.body?.schema ?? {};
    expect(example(body, api)).toEqual({ kind: "agent", of: null, title: "", points: null, owners: [] });
    expect(typeName(body, api)).toBe("Story");
    expect(fieldsOf(body, api).map(({ name, type, required }) => [name, type, required])).toEqual([
      ["kind", '"agent" | "human"', true], ["of", "Story or null", false], ["title", "string", true], ["points", "integer or null", false], ["owners", "array of Owner", false],
    ]);
  });

  it("sends what was typed where it belongs, and nothing that was left empty", () => {
    const typed = { parameters: { project_id: "a/b", "Idempotency-Key": "k" }, body: "{}", token: "t" };
    expect(prepare(create, typed)).toEqual({ url: "/api/v1/projects/a%2Fb/stories", init: { method: "POST", headers: { Authorization: "Bearer t", "Idempotency-Key": "k", "Content-Type": "application/json" }, body: "{}" } });
    const list = operations.find((operation) => operation.id === "list_stories")!;
    expect(prepare(list, { parameters: { project_id: "p", phase: "done" }, body: "", token: "" })).toEqual({ url: "/api/v1/projects/p/stories?phase=done", init: { method: "GET", headers: {} } });
    expect(missing(list, { parameters: {}, body: "", token: "" })).toEqual(["project_id"]);
  });

  it("sends a form as a form", () => {
    const login = operations[0]!;
    expect(prepare(login, { parameters: {}, body: '{"username":"a b"}', token: "" }).init.body).toBe("username=a+b");
  });

  it("writes a command that keeps the token out of it", () => {
    const text = curl(prepare(create, { parameters: { project_id: "p" }, body: `{"title":"it's"}`, token: "secret" }), "http://host");
    expect(text).toBe(`curl -X POST 'http://host/api/v1/projects/p/stories' -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' --data-raw '{"title":"it'\\''s"}'`);
  });
});
