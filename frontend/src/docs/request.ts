import type { Operation } from "./document";

/** What is sent when an operation is tried, from what was typed. */

export interface Typed {
  parameters: Record<string, string>;
  body: string;
  token: string;
}

export interface Prepared {
  url: string;
  init: { method: string; headers: Record<string, string>; body?: string };
}

/** The parameters without which there is no address. */
export function missing(operation: Operation, typed: Typed): string[] {
  return operation.parameters.filter((parameter) => (parameter.required || parameter.in === "path") && !typed.parameters[parameter.name]).map((parameter) => parameter.name);
}

function encoded(operation: Operation, body: string): string {
  if (operation.body?.mediaType !== "application/x-www-form-urlencoded") return body;
  return new URLSearchParams(JSON.parse(body) as Record<string, string>).toString();
}

export function prepare(operation: Operation, typed: Typed): Prepared {
  const headers: Record<string, string> = {};
  if (typed.token) headers["Authorization"] = `Bearer ${typed.token}`;
  const query = new URLSearchParams();
  let path = operation.path;
  for (const parameter of operation.parameters) {
    const value = typed.parameters[parameter.name] ?? "";
    if (value === "") continue;
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (parameter.in === "query") query.set(parameter.name, value);
    else if (parameter.in === "header") headers[parameter.name] = value;
  }
  const search = query.toString();
  const prepared: Prepared = { url: search ? `${path}?${search}` : path, init: { method: operation.method, headers } };
  if (operation.body && typed.body.trim() !== "") {
    headers["Content-Type"] = operation.body.mediaType;
    prepared.init.body = encoded(operation, typed.body);
  }
  return prepared;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The same request for a terminal; the token is left to a variable, so that it is not pasted around. */
export function curl(prepared: Prepared, origin: string): string {
  const { method, headers, body } = prepared.init;
  const parts = ["curl", ...(method === "GET" ? [] : ["-X", method]), quoted(origin + prepared.url)];
  for (const [name, value] of Object.entries(headers)) parts.push("-H", name === "Authorization" ? `"Authorization: Bearer $TOKEN"` : quoted(`${name}: ${value}`));
  if (body !== undefined) parts.push("--data-raw", quoted(body));
  return parts.join(" ");
}
