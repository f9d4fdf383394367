import { example, fieldsOf, typeName, type ApiDocument, type Operation, type Schema } from "./document";
import { h, prose } from "./element";
import { curl, missing, prepare, type Prepared, type Typed } from "./request";

/** One operation: what it takes, what it gives, and a form that sends it. */

/** A longer answer is cut; streams have no end of their own. */
const MAX_SHOWN = 200_000;
/** Schemas nest; deeper than this nobody reads. */
const MAX_DEPTH = 4;

export function operationView(operation: Operation, document: ApiDocument, token: () => string): HTMLElement {
  return h("article", { "aria-labelledby": "operation" },
    h("h2", { id: "operation" }, h("span", { class: `method ${operation.method.toLowerCase()}` }, operation.method), " ", h("code", {}, operation.path)),
    h("p", { class: "summary" }, prose([operation.summary, operation.description].filter(Boolean).join(" "))),
    operation.secured ? null : h("p", { class: "note" }, "Takes no access token."),
    tryIt(operation, document, token),
    operation.body ? h("section", {}, h("h3", {}, "Body"), h("p", { class: "note" }, `${operation.body.mediaType}: ${typeName(operation.body.schema, document)}`), fields(operation.body.schema, document, 0)) : null,
    h("section", {}, h("h3", {}, "Answers"), ...operation.responses.map((response) =>
      h("details", { class: "answer", open: response.status.startsWith("2") },
        h("summary", {}, h("strong", {}, response.status), " ", prose(response.description), response.schema ? h("span", { class: "type" }, ` ${typeName(response.schema, document)}`) : null),
        response.schema ? fields(response.schema, document, 0) : h("p", { class: "note" }, Number(response.status) >= 400 ? "application/problem+json with a stable code" : "No content")),
    )),
  );
}

function fields(schema: Schema, document: ApiDocument, depth: number): HTMLElement | null {
  const rows = fieldsOf(schema, document);
  if (rows.length === 0) return null;
  return h("ul", { class: "fields" }, ...rows.map((field) =>
    h("li", {},
      h("code", {}, field.name), h("span", { class: "type" }, ` ${field.type}`), field.required ? h("span", { class: "required" }, " required") : null,
      field.description ? h("span", { class: "about" }, prose(field.description)) : null,
      field.inner && depth < MAX_DEPTH ? nested(field.inner, document, depth + 1) : null),
  ));
}

/** Filled when it is opened: schemas refer to each other. */
function nested(schema: Schema, document: ApiDocument, depth: number): HTMLElement {
  const details = h("details", { toggle: () => {
    if (details.open && details.childElementCount === 1) details.append(fields(schema, document, depth) ?? "");
  } }, h("summary", {}, "Fields"));
  return details;
}

function tryIt(operation: Operation, document: ApiDocument, token: () => string): HTMLElement {
  const inputs = new Map<string, HTMLInputElement>();
  const rows = operation.parameters.filter((parameter) => parameter.in !== "cookie").map((parameter) => {
    const required = parameter.required || parameter.in === "path";
    const input = h("input", { name: parameter.name, required, autocomplete: "off", spellcheck: "false", placeholder: parameter.schema ? typeName(parameter.schema, document) : "" });
    inputs.set(parameter.name, input);
    return h("label", {}, h("span", {}, h("code", {}, parameter.name), h("span", { class: "type" }, ` ${parameter.in}`), required ? h("span", { class: "required" }, " required") : null), input, parameter.description ? h("small", {}, prose(parameter.description)) : null);
  });
  const area = operation.body ? h("textarea", { name: "body", rows: "8", spellcheck: "false" }) : null;
  if (area && operation.body) area.value = JSON.stringify(example(operation.body.schema, document), null, 2);
  const output = h("div", { class: "output", "aria-live": "polite" });
  const send = h("button", { type: "submit" }, "Send");
  const typed = (): Typed => ({ parameters: Object.fromEntries([...inputs].map(([name, input]) => [name, input.value.trim()])), body: area?.value ?? "", token: operation.secured ? token() : "" });
  return h("form", { class: "try", submit: (event) => {
    event.preventDefault();
    void submit(operation, typed(), output, send);
  } }, h("h3", {}, "Try it"), ...rows, area ? h("label", {}, h("span", {}, "Body"), area) : null, h("div", { class: "actions" }, send), output);
}

async function submit(operation: Operation, typed: Typed, output: HTMLElement, send: HTMLButtonElement): Promise<void> {
  const lacking = missing(operation, typed);
  if (lacking.length > 0) return output.replaceChildren(h("p", { class: "wrong" }, `Missing: ${lacking.join(", ")}`));
  let prepared: Prepared;
  try {
    prepared = prepare(operation, typed);
  } catch {
    return output.replaceChildren(h("p", { class: "wrong" }, "The body is not valid JSON."));
  }
  const stop = new AbortController();
  const status = h("p", { class: "status" }, "Sending…");
  const pre = h("pre", { tabindex: "0", role: "region", "aria-label": "Answer" });
  const end = h("button", { type: "button", class: "quiet", click: () => stop.abort() }, "Stop");
  output.replaceChildren(h("pre", { class: "curl", tabindex: "0", role: "region", "aria-label": "As a command" }, curl(prepared, location.origin)), status, end, pre);
  send.disabled = true;
  try {
    await receive(prepared, stop.signal, status, pre);
  } catch (error) {
    if (!stop.signal.aborted) status.replaceChildren(h("span", { class: "wrong" }, error instanceof Error ? error.message : String(error)));
  } finally {
    end.remove();
    send.disabled = false;
  }
}

async function receive(prepared: Prepared, signal: AbortSignal, status: HTMLElement, pre: HTMLElement): Promise<void> {
  const began = performance.now();
  const response = await fetch(prepared.url, { ...prepared.init, credentials: "same-origin", signal });
  const kind = response.headers.get("content-type") ?? "";
  status.replaceChildren(h("strong", { class: response.ok ? "fine" : "wrong" }, `${response.status} ${response.statusText}`), ` ${Math.round(performance.now() - began)} ms ${kind}`);
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (let part = await reader?.read(); part && !part.done && text.length < MAX_SHOWN; part = await reader?.read()) {
    text += decoder.decode(part.value, { stream: true });
    pre.textContent = text;
  }
  await reader?.cancel();
  pre.textContent = pretty(text, kind);
}

function pretty(text: string, kind: string): string {
  if (!kind.includes("json")) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
