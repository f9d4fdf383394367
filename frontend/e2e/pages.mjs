// What the pages promise around the main job, against the mock: the focus, the keys, a second try
// after a lost answer, a broken chain, an upgrade in an open tab. Needs `npm run build` first.
import { startMock, LOGIN } from "../test/mock/server.mjs";
import { launch, settled, until, watchErrors } from "./browser.mjs";
import { budgetCases } from "./budgets.mjs";
import { modelCases } from "./models.mjs";

const mock = await startMock();
const browser = await launch();
const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
const page = await context.newPage();
page.setDefaultTimeout(10_000);
const errors = [];
watchErrors(page, errors);
/** What a case brings about on purpose is told in the console; what comes without one is a fault. */
async function expectingErrors(work) {
  const before = errors.length;
  await work();
  errors.splice(before);
}
const { data } = mock;
const p = data.projects[0].id;
const viewed = data.projects[2].id;
const story = data.stories[0];
const only = process.argv[2];

async function go(path, on = page) {
  await on.goto(`${mock.url}${path}`);
  await settled(on);
}
async function signIn(on) {
  await on.goto(`${mock.url}/login`);
  await on.getByLabel("E-mail").fill(LOGIN.email);
  await on.getByLabel("Password").fill(LOGIN.password);
  await on.getByRole("button", { name: "Sign in" }).click();
  await on.waitForURL("**/inbox");
}
function check(condition, text) {
  if (!condition) throw new Error(text);
}
const api = (path) => `**/api/v1/projects/${p}${path}`;
const written = (suffix) => mock.writes.filter((write) => write.path.endsWith(suffix));

const cases = {
  async "a page has its title, is marked in the navigation, and takes the focus"() {
    await go(`/projects/${p}`);
    await until(async () => (await page.title()).endsWith("Board · Ledger · Syndarix"), "the board has no title");
    await page.locator(`[data-story="${story.id}"] a`).click();
    await until(async () => (await page.title()).includes(`#${story.number} ${story.title}`), "the story has no title");
    const nav = page.getByRole("navigation", { name: "Main navigation" });
    check((await nav.locator('[aria-current="page"]').innerText()) === "Board", "the story's section is not marked");
    await until(() => page.evaluate(() => document.activeElement?.id === "content"), "the focus stayed on the page that is gone");
    await page.getByRole("status").filter({ hasText: story.title }).first().waitFor({ state: "attached" });
    await page.getByRole("link", { name: "Open the approval" }).click();
    await page.waitForURL("**/approvals/**");
    check((await nav.locator('[aria-current="page"]').innerText()).startsWith("Inbox"), "the question is not marked as of the inbox");
  },
  async "what is typed into the filter stays whole, and no card takes the focus from it"() {
    await go(`/projects/${p}`);
    await page.locator(`[data-story="${story.id}"] a`).focus();
    const filter = page.getByRole("searchbox", { name: "Filter stories" });
    await filter.pressSequentially("so", { delay: 20 });
    mock.emit("story.created", p, `story/${story.id}`, { title: story.title });
    await filter.pressSequentially("me words that match nothing", { delay: 20 });
    check((await filter.inputValue()) === "some words that match nothing", "letters were lost");
    await page.getByText("No story matches").waitFor();
    await filter.fill("");
    await page.locator(`[data-story="${story.id}"]`).waitFor();
    check(await filter.evaluate((element) => element === document.activeElement), "a card took the focus");
    check(mock.writes.every((write) => write.path.includes("/auth/")), "a letter was read as a command");
  },
  async "cancelled stories are named on the board, and reached by key on the list"() {
    await go(`/projects/${p}?sprint=all`);
    data.stories[3].phase = "cancelled";
    await go(`/projects/${p}?phase=cancelled&sprint=all`);
    await page.getByText("Cancelled stories are not on the board").waitFor();
    await page.getByRole("button", { name: "Show them as a list" }).click();
    await page.locator(`tr[data-story="${data.stories[3].id}"]`).waitFor();
    await page.keyboard.press("j");
    check((await page.evaluate(() => document.activeElement?.closest("[data-story]")?.dataset.story)) === data.stories[3].id, "J does not reach the row");
    data.stories[3].phase = "design";
  },
  async "a story that is over is asked nothing by key"() {
    await go(`/projects/${p}?view=list`);
    const done = data.stories.find((item) => item.phase === "done");
    await page.locator(`tr[data-story="${done.id}"] a`).focus();
    for (const key of ["b", "m"]) await page.keyboard.press(key);
    check((await page.locator("dialog[open]").count()) === 0, "a dialog was opened");
  },
  async "who may only look has no menus and drags nothing"() {
    data.stories[7].project_id = viewed;
    await go(`/projects/${viewed}?sprint=all`);
    const card = page.locator(`[data-story="${data.stories[7].id}"]`);
    check((await card.getAttribute("draggable")) === "false", "the card can be dragged");
    check((await card.getByRole("button").count()) === 0, "an empty menu");
    data.stories[7].project_id = p;
  },
  async "a story whose start fails is not written a second time"() {
    await page.route(api("/stories/*/start"), (route) => route.fulfill({ status: 500, contentType: "application/problem+json", body: '{"status":500,"detail":"The server is busy."}' }));
    await go(`/projects/${p}?new=story`);
    await page.getByLabel("Title").fill("Only once");
    await expectingErrors(async () => {
      await page.getByRole("button", { name: "Create and start" }).click();
      await page.waitForURL("**/stories/**");
      await page.locator('[data-toast="bad"]').filter({ hasText: "did not start" }).waitFor();
    });
    await page.unroute(api("/stories/*/start"));
    check(data.stories.filter((item) => item.title === "Only once").length === 1, "written twice");
  },
  async "an answer that is lost is asked for again under the same key"() {
    const keys = [];
    await page.route(api("/stories"), (route) => {
      if (route.request().method() !== "POST") return route.continue();
      keys.push(route.request().headers()["idempotency-key"]);
      return keys.length === 1 ? route.abort() : route.continue();
    });
    await go(`/projects/${p}?new=story`);
    await page.getByLabel("Title").fill("Tried again");
    const create = page.getByRole("button", { name: "Create", exact: true });
    await expectingErrors(async () => {
      await create.click();
      await page.getByRole("dialog").getByRole("alert").waitFor();
    });
    await create.click();
    await page.waitForURL("**/stories/**");
    await page.unroute(api("/stories"));
    check(keys.length === 2 && keys[0] === keys[1], `keys: ${keys}`);
  },
  async "a message is for whoever runs next on the story, and says when it was read"() {
    await go(`/projects/${p}/stories/${story.id}?tab=conversation`);
    await page.getByLabel("Message to the story's agents").fill("Mind the cents.");
    await page.getByRole("button", { name: "Queue message" }).click();
    await page.getByRole("listitem").filter({ hasText: "Mind the cents." }).getByText("Queued").waitFor();
    const body = JSON.parse(written("/messages").at(-1).body);
    check(body.to === undefined && body.conversation_id === story.id && body.content.text === "Mind the cents.", JSON.stringify(body));
  },
  async "finished runs are folded, and a step's input is there when it is opened"() {
    await go(`/projects/${p}/stories/${story.id}`);
    check((await page.locator("[data-step]").count()) === data.stepsOf.get(data.runs[2].id).length, "a finished run is open");
    check((await page.getByRole("region", { name: "Input" }).count()) === 0, "an input is rendered that nobody opened");
    await page.locator("[data-step] summary").first().click();
    await page.getByRole("region", { name: "Input" }).waitFor();
    await page.getByRole("button", { name: /^Steps of Ada/ }).click();
    await page.getByText("Write the change").waitFor();
  },
  async "a broken chain is never shown as intact"() {
    const chain = page.locator("[data-chain]");
    let broken = true;
    await page.route(api("/audit?*"), async (route) => {
      const response = await route.fetch();
      const body = await response.json();
      await route.fulfill({ response, json: { ...body, chain: { ...body.chain, verified_ok: broken ? false : null, verified_at: broken ? new Date().toISOString() : null } } });
    });
    await page.route(api("/audit/verify"), (route) => route.fulfill({ json: { ok: false, entries: 3, erased: 0, unsealed: 0, head: "x", first_bad: { position: 4, reason: "the hash does not fit" } } }));
    await go(`/projects/${p}/audit`);
    await chain.getByText("Broken at position 4: the hash does not fit").waitFor();
    check((await chain.getAttribute("data-chain")) === "broken", "it is not red");
    broken = false;
    await page.unroute(api("/audit/verify"));
    await go(`/projects/${p}/audit`);
    check((await chain.getAttribute("data-chain")) === "unknown", "nobody has verified it, and it is not grey");
    // The page may be asking once more at this moment.
    await page.unrouteAll({ behavior: "ignoreErrors" });
  },
  async "clearing the filters of the audit empties their fields"() {
    await go(`/projects/${p}/audit`);
    const field = page.getByRole("searchbox", { name: "Type" });
    await field.fill("nothing.of.this");
    await page.getByText("No audit entry matches.").waitFor();
    await page.getByRole("button", { name: "Clear filters" }).first().click();
    await until(async () => (await field.inputValue()) === "", "the field still says what it filtered by");
    await page.getByRole("list", { name: "Audit" }).waitFor();
  },
  async "settings send what was changed, and a member goes only when asked twice"() {
    await go(`/projects/${p}/settings`);
    await page.getByLabel("Test command").fill("make test");
    await page.getByRole("button", { name: "Save" }).click();
    await page.locator("[data-toast]").filter({ hasText: "Saved" }).waitFor();
    check(written(`/projects/${p}`).at(-1).body === '{"test_command":"make test"}', written(`/projects/${p}`).at(-1).body);
    await go(`/projects/${p}/settings?tab=members`);
    await page.getByRole("button", { name: /^Remove / }).last().click();
    check(mock.writes.every((write) => write.method !== "DELETE"), "removed at once");
    await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  },
  async "the type that is shown is the type that is spawned"() {
    data.agentTypes[0].is_active = false;
    await go(`/projects/${p}/agents`);
    await page.getByRole("button", { name: "Spawn agent" }).click();
    const shown = await page.getByLabel("Type", { exact: true }).inputValue();
    await page.getByRole("dialog").getByRole("button", { name: "Spawn agent" }).click();
    await page.locator("[data-toast]").filter({ hasText: "is here" }).waitFor();
    const sent = JSON.parse(written("/agents").at(-1).body).agent_type_id;
    check(sent === shown && sent !== data.agentTypes[0].id, "an inactive type was sent");
    data.agentTypes[0].is_active = true;
  },
  async "a queue that nobody polls is named, and workers say whether they are alive"() {
    await go("/inbox");
    await page.keyboard.press("g");
    await page.keyboard.press("j");
    await page.getByRole("status").filter({ hasText: "No worker polls the queue sync" }).waitFor();
    const workers = page.getByRole("region", { name: "Workers" }).last();
    await workers.getByText("Alive").waitFor();
    await workers.getByText("Silent for 21 m").waitFor();
  },
  async "dead letters are settled by key, only when confirmed, one and many"() {
    await go("/jobs?tab=dead");
    const list = page.getByRole("list", { name: "Dead letters" });
    const [first, second] = data.jobs.filter((job) => job.may_settle).map((job) => job.id);
    const settled = () => mock.writes.filter((write) => write.path.includes("/jobs/")).map((write) => write.path.split("/jobs/")[1]);
    await page.keyboard.press("j");
    await page.keyboard.press("r");
    const dialog = page.getByRole("dialog");
    await dialog.getByText("Run 1 dead letter again?").waitFor();
    check(settled().length === 0, "a key decided");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await until(() => page.evaluate((job) => document.activeElement?.closest("[data-job]")?.dataset.job === job, first), "the focus did not come back");
    await page.keyboard.press("x");
    await page.keyboard.press("j");
    await page.keyboard.press("x");
    await page.keyboard.press("Shift+R");
    await dialog.getByText("Run 2 dead letters again?").waitFor();
    await page.keyboard.press("Enter");
    await page.locator("[data-toast]").filter({ hasText: "2 jobs are in the queue again" }).waitFor();
    check(settled().join() === `${first}/redrive,${second}/redrive`, settled().join());
    await until(async () => (await list.getByRole("listitem").count()) === 1, "they are still listed");
    check((await list.getByRole("checkbox").count()) === 0, "a letter that is not the reader's can be chosen");
    data.jobs.splice(data.jobs.findIndex((job) => job.state === "dead"), 1);
    await go("/jobs?tab=dead");
    await page.getByText("No dead letters").waitFor();
  },
  async "jobs that cannot be read say so and are asked for again"() {
    await page.route("**/api/v1/jobs?*", (route) => route.fulfill({ status: 500, contentType: "application/problem+json", body: '{"status":500,"detail":"The server is busy."}' }));
    await expectingErrors(async () => {
      await page.goto(`${mock.url}/jobs`);
      await page.getByRole("alert").filter({ hasText: "The server is busy." }).first().waitFor();
    });
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await page.getByRole("button", { name: "Try again" }).first().click();
    await page.getByRole("region", { name: "Queues" }).last().waitFor();
  },
  async "a run says why it waits, and is seen as it was"() {
    const retry = data.runs.at(-1);
    await go(`/projects/${p}/runs/${retry.id}`);
    const waits = page.getByRole("region", { name: "Why it waits" });
    await waits.getByText("3 were made, 9 left").waitFor();
    await waits.getByText("Nobody: it goes on by itself").waitFor();
    await page.getByRole("tab", { name: "History" }).click();
    await page.getByRole("button", { name: /run\.model_call_finished/ }).click();
    const state = page.getByRole("region", { name: "State at version 3" });
    await state.waitFor();
    await state.getByRole("button", { name: "Earlier version" }).click();
    await page.getByRole("region", { name: "State at version 2" }).waitFor();
  },
  async "a filter stays where it is while what it filters is fetched"() {
    await go(`/projects/${p}/costs`);
    const filter = page.getByRole("button", { name: /^Group by/ });
    await filter.click();
    await page.getByRole("menuitemradio", { name: "Group by: Agent" }).click();
    await page.waitForURL("**by=agent");
    check((await filter.count()) === 1, "the filter is gone");
    await settled(page);
    await page.getByRole("region", { name: "Agent" }).waitFor();
  },
  async "a key is made by keyboard, and nothing but its own button takes its secret away"() {
    await go(`/projects/${p}/gateway?tab=keys`);
    await page.getByRole("button", { name: "New key" }).focus();
    await page.keyboard.press("Enter");
    await until(() => page.evaluate(() => document.activeElement?.matches("dialog input")), "the focus is not in the form");
    await page.keyboard.press("Enter");
    await page.locator('dialog [aria-invalid="true"]').waitFor();
    check(written("/gateway-keys").length === 0, "a key without a name was sent");
    await page.keyboard.type("By keyboard");
    await page.keyboard.press("Enter");
    const secret = page.locator("[data-secret]");
    await secret.waitFor();
    await page.keyboard.press("Escape");
    await page.mouse.click(5, 5);
    check(await secret.isVisible(), "the secret is gone");
    check(!page.url().includes("new="), "the address still asks for a form");
    const text = await secret.locator("code").first().innerText();
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await secret.getByRole("button", { name: "Copy: Secret" }).click();
    await secret.getByText("Copied").waitFor();
    check((await page.evaluate(() => navigator.clipboard.readText())) === text, "something else was copied");
    await page.getByRole("button", { name: "I have stored it" }).click();
    await secret.waitFor({ state: "detached" });
    check(!(await page.content()).includes(text), "the secret is still in the page");
    await page.reload();
    await page.locator("[data-key]").filter({ hasText: "By keyboard" }).waitFor();
    check((await secret.count()) === 0, "a reload brings the secret back");
  },
  async "a key is changed, and a limit that is no number stays in the form"() {
    await go(`/projects/${p}/gateway?tab=keys`);
    const row = page.locator("[data-key]").filter({ hasText: "Nightly report" });
    await row.getByRole("button", { name: /^Actions/ }).click();
    await page.getByRole("menuitem", { name: "Edit" }).click();
    const dialog = page.getByRole("dialog");
    check(await dialog.getByLabel("code", { exact: true }).isChecked(), "its models are not chosen");
    await dialog.getByLabel("Calls in a minute").fill("many");
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.getByText("A whole number from 1 on").waitFor();
    await dialog.getByLabel("Calls in a minute").fill("90");
    await dialog.getByLabel("Budget (USD)").fill("");
    await dialog.getByRole("button", { name: "Save" }).click();
    await row.filter({ hasText: "90 calls/min" }).filter({ hasText: "no budget of its own" }).waitFor();
  },
  async "a deployment that fails shows without a reload"() {
    await go(`/projects/${p}/gateway`);
    await page.locator('[data-live="open"]').waitFor();
    const small = mock.gateway.health.deployments.find((item) => item.name === "small");
    small.recent = { ...small.recent, requests: 1_700, failures: 600 };
    mock.emit("cost.recorded", p, "usage/x", {}, "system");
    await page.locator('[data-deployment="small"]').filter({ hasText: "35%" }).waitFor();
  },
  async "an answer is stopped by its button, and by leaving"() {
    await go(`/projects/${p}/gateway?tab=playground&model=small`);
    check((await page.getByLabel("Model", { exact: true }).inputValue()) === "small", "the address names another model");
    const closed = () => page.waitForEvent("requestfailed", (request) => request.url().endsWith("/playground"));
    await page.getByLabel("Question").fill("slow");
    await page.keyboard.press("Control+Enter");
    await page.locator("[data-answer-text]").filter({ hasText: "Half" }).waitFor();
    let stopped = closed();
    await page.getByRole("button", { name: "Stop" }).click();
    await stopped;
    await page.locator('[data-answer="stopped"]').filter({ hasText: "What was used until then" }).waitFor();
    check((await page.locator("[data-answer-text]").innerText()).startsWith("Half"), "what was said is gone");
    await page.getByRole("button", { name: /^Ask/ }).click();
    await page.getByRole("button", { name: "Stop" }).waitFor();
    stopped = closed();
    await page.getByRole("tab", { name: "Keys" }).click();
    await stopped;
    await go(`/projects/${viewed}/gateway?tab=playground`);
    check(await page.getByRole("button", { name: /^Ask/ }).isDisabled(), "who may only look can ask");
  },
  async "what was spent is saved as a file, and a limit that is near is told"() {
    await go(`/projects/${p}/costs`);
    await page.locator("[data-budget-alerts]").filter({ hasText: "Sprint 7" }).waitFor({ state: "detached" });
    const saved = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export CSV" }).click();
    check((await saved).suggestedFilename() === "usage.csv", "the file has another name");
    await page.getByRole("link", { name: "Costs of all projects" }).click();
    await page.waitForURL("**/costs");
    await page.locator(`[data-project="${data.projects[1].id}"]`).filter({ hasText: "near its limit" }).getByRole("link").click();
    await page.locator("[data-budget-alerts]").filter({ hasText: "Project Mobile app, all time: 90% of the hard limit of $20.00 is used up" }).waitFor();
  },
  async "a budget is put on a sprint, changed and taken away, and a limit that comes near is told"() {
    await go(`/projects/${p}/costs`);
    const row = page.locator(`[data-budget="sprint ${data.sprint.id} week"]`);
    await page.getByRole("button", { name: "Add budget" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("On").selectOption("sprint");
    await dialog.getByLabel("Period").selectOption("week");
    await dialog.getByLabel("Which one").selectOption(data.sprint.name);
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.getByText("Set at least one limit.").waitFor();
    await dialog.getByLabel("Hard limit (USD)").fill("5");
    await page.keyboard.press("Enter");
    await row.filter({ hasText: "of $5.00 (0%)" }).waitFor();
    await row.getByRole("button", { name: /^Edit/ }).click();
    await dialog.getByLabel("Hard limit (USD)").fill("0");
    await page.keyboard.press("Enter");
    await page.locator("[data-budget-alerts]").filter({ hasText: `Sprint ${data.sprint.name}, each week: 100% of the hard limit of $0.00 is used up` }).waitFor();
    await row.getByRole("button", { name: /^Remove/ }).click();
    await dialog.getByRole("button", { name: "Remove" }).click();
    await row.waitFor({ state: "detached" });
  },
  async "a budget is put on a run, which is chosen by its story and its agent's role"() {
    const run = data.runs[2];
    await go(`/projects/${p}/costs`);
    await page.getByRole("button", { name: "Add budget" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("On").selectOption("run");
    await dialog.getByLabel("Which one").selectOption("#12 Round amounts half to even (Reviewer Grace, waiting)");
    await dialog.getByLabel("Hard limit (USD)").fill("2");
    await page.keyboard.press("Enter");
    const row = page.locator(`[data-budget="run ${run.id} month"]`);
    await row.filter({ hasText: "of $2.00 (0%)" }).waitFor();
    await row.getByRole("button", { name: "Edit: Run #12 Round amounts half to even (reviewer), each month" }).waitFor();
    await row.getByRole("button", { name: /^Remove/ }).click();
    await dialog.getByRole("button", { name: "Remove" }).click();
    await row.waitFor({ state: "detached" });
  },
  async "the navigation of a phone is a modal that Escape, and the page one is on, close"() {
    const phone = await browser.newContext({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
    const tab = await phone.newPage();
    await signIn(tab);
    await go(`/projects/${p}/costs`, tab);
    const open = tab.getByRole("button", { name: "Open navigation" });
    const drawer = tab.locator("dialog[open]");
    await open.click();
    await drawer.waitFor();
    await tab.keyboard.press("Escape");
    await drawer.waitFor({ state: "detached" });
    check(await open.evaluate((element) => element === document.activeElement), "the focus did not come back");
    await open.click();
    await drawer.getByRole("link", { name: "Costs" }).click();
    await drawer.waitFor({ state: "detached" });
    await open.click();
    await drawer.getByRole("button", { name: /^Switch project/ }).click();
    await tab.getByRole("menuitemradio", { name: "Mobile app" }).click();
    await tab.waitForURL(`**/projects/${data.projects[1].id}`);
    await phone.close();
  },
  async "an open tab of the version before loads the new one, once"() {
    await go("/inbox");
    const loads = [];
    const count = (request) => { if (request.isNavigationRequest()) loads.push(request.url()); };
    page.on("request", count);
    const part = "**/assets/UsageChart-*.js";
    await page.route(part, (route) => route.fulfill({ status: 404, body: "gone" }));
    await expectingErrors(async () => {
      await page.keyboard.press("g");
      await page.keyboard.press("c");
      await page.getByRole("alert").waitFor();
    });
    await page.unroute(part);
    page.off("request", count);
    check(loads.length === 1, `loaded ${loads.length} times`);
    await go(`/projects/${p}/costs`);
    await page.getByRole("img", { name: /^Spend by day/ }).waitFor();
  },
  ...modelCases({ page, mock, go, written, expectingErrors }),
  ...budgetCases({ page, mock, go, written }),
};

await signIn(page);
let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  if (only && !name.includes(only)) continue;
  try {
    await run();
    console.log(`ok    ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n      ${String(error.message).split("\n").slice(0, 6).join("\n      ")}`);
    await page.screenshot({ path: new URL(`../test-results/pages-${failed}.png`, import.meta.url).pathname });
    await page.unrouteAll({ behavior: "ignoreErrors" });
  }
}
for (const error of new Set(errors)) console.log(error);
await browser.close();
mock.close();
process.exit(failed || errors.length > 0 ? 1 : 0);
