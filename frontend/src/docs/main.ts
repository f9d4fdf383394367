import { accessToken, refreshSession } from "../api/session";
import "./docs.css";
import { byTag, matches, operationsOf, type ApiDocument, type Operation } from "./document";
import { h, prose } from "./element";
import { operationView } from "./operation";

/** The interactive page of the API at `/docs`, over the document that the server gives of itself. */

const DOCUMENT = "/api/v1/openapi.json";

function tokenBox(): { element: HTMLElement; token: () => string } {
  const input = h("input", { type: "password", autocomplete: "off", "aria-label": "Access token", placeholder: "Access token" });
  const state = h("span", { role: "status" });
  const use = h("button", { type: "button", class: "quiet", click: () => void refreshSession().then((fresh) => {
    if (fresh) input.value = accessToken() ?? "";
    state.textContent = fresh ? "Token of your session" : "Nobody is signed in here";
  }) }, "Use my session");
  return { element: h("div", { class: "token" }, input, use, state), token: () => input.value.trim() };
}

function navigation(operations: Operation[]): HTMLElement {
  const list = h("div", {});
  const fill = (query: string) => {
    const groups = byTag(operations.filter((operation) => matches(operation, query)));
    list.replaceChildren(...groups.map(([tag, items]) =>
      h("section", {}, h("h2", {}, tag), h("ul", {}, ...items.map((operation) => {
        const link = h("a", { href: `#${encodeURIComponent(operation.id)}` }, h("span", { class: `method ${operation.method.toLowerCase()}` }, operation.method), " ", operation.path.replace("/api/v1", ""));
        return h("li", {}, link);
      }))),
    ));
    if (groups.length === 0) list.replaceChildren(h("p", { class: "note" }, "No operation matches."));
    mark();
  };
  const filter = h("input", { type: "search", placeholder: "Filter operations", "aria-label": "Filter operations", input: () => fill(filter.value) });
  queueMicrotask(() => fill(""));
  return h("nav", { "aria-label": "Operations" }, filter, list);
}

/** Says in the list which operation is shown. */
function mark(): void {
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === location.hash) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function welcome(api: ApiDocument, operations: Operation[]): HTMLElement {
  return h("article", {},
    h("h2", {}, `${operations.length} operations`),
    h("p", { class: "summary" }, prose(api.info.description ?? "")),
    h("p", {}, "Choose one on the left. Requests are sent to this server, with the access token from above. ", h("a", { href: DOCUMENT }, "openapi.json"), " is the document itself."));
}

async function start(root: HTMLElement): Promise<void> {
  const response = await fetch(DOCUMENT);
  if (!response.ok) throw new Error(`The document could not be read: HTTP ${response.status}`);
  const api = (await response.json()) as ApiDocument;
  const operations = operationsOf(api);
  const { element, token } = tokenBox();
  const shown = h("div", { class: "shown" });
  const show = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const operation = operations.find((item) => item.id === id);
    shown.replaceChildren(operation ? operationView(operation, api, token) : welcome(api, operations));
    document.title = operation ? `${operation.id} · Syndarix API` : "Syndarix API";
    mark();
    shown.scrollTop = 0;
  };
  addEventListener("hashchange", show);
  root.replaceChildren(
    h("header", {}, h("h1", {}, h("a", { href: "/" }, api.info.title), ` API ${api.info.version}`), element),
    h("div", { class: "columns" }, navigation(operations), shown));
  show();
}

const root = document.getElementById("api-docs");
if (root) start(root).catch((error: unknown) => root.replaceChildren(h("p", { class: "wrong", role: "alert" }, error instanceof Error ? error.message : String(error))));
