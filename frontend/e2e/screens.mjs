// Walks every screen against the mock server, and what opens on them: looks for errors, accessibility
// faults, and anything wider than its page, in both themes and on a phone, and leaves screenshots in
// test-results/. Needs `npm run build` first. An argument names the one screen to look at.
import { mkdirSync } from "node:fs";
import { startMock, LOGIN } from "../test/mock/server.mjs";
import { faults, launch, overflow, settled, watchErrors } from "./browser.mjs";

const OUT = new URL("../test-results/", import.meta.url).pathname;
mkdirSync(OUT, { recursive: true });
const only = process.argv[2];

const mock = await startMock();
const browser = await launch();
const problems = [];
const p = mock.data.projects[0].id;
const story = mock.data.stories[0].id;
const merge = mock.data.approvals[0].id;
const button = (name) => (page) => page.getByRole("button", { name }).first().click();
const keys = (press) => async (page) => {
  await page.locator("main").focus();
  await page.keyboard.press(press);
};

const played = (question, end) => async (page) => {
  await page.getByLabel("Question").fill(question);
  await page.getByRole("button", { name: /^Ask/ }).click();
  await page.locator(end).waitFor();
};

/** Name, path, and what is opened there. */
const screens = [
  ["inbox", "/inbox"], ["approval", `/projects/${p}/approvals/${merge}`], ["approval-arguments", `/projects/${p}/approvals/${mock.data.approvals[2].id}`], ["approval-question", `/projects/${p}/approvals/${mock.data.approvals[5].id}`],
  ["projects", "/projects"], ["new-project", "/projects?new=1"],
  ["board", `/projects/${p}`], ["list", `/projects/${p}?view=list`], ["board-cancelled", `/projects/${p}?phase=cancelled`], ["board-phase", `/projects/${p}?phase=review`],
  ["new-story", `/projects/${p}?new=story`], ["new-sprint", `/projects/${p}?new=sprint`], ["sprint-filter", `/projects/${p}`, button(/^Sprint 7/)], ["story-menu", `/projects/${p}`, button(/^Actions: /)],
  ["palette", `/projects/${p}`, keys("Control+k")], ["shortcuts", `/projects/${p}`, keys("?")],
  ["story", `/projects/${p}/stories/${story}`], ["story-changes", `/projects/${p}/stories/${story}?tab=changes`], ["story-tests", `/projects/${p}/stories/${story}?tab=tests`],
  ["story-conversation", `/projects/${p}/stories/${story}?tab=conversation`], ["story-history", `/projects/${p}/stories/${story}?tab=history&version=3`],
  ["jobs", "/jobs"], ["jobs-running", "/jobs?tab=running"], ["jobs-dead", "/jobs?tab=dead", async (page) => { await page.locator("main summary").first().click(); await page.getByRole("checkbox").first().check(); }],
  ["jobs-confirm", "/jobs?tab=dead", button(/^Purge/)],
  ["run-waiting", `/projects/${p}/runs/${mock.data.runs[2].id}`], ["run-retry", `/projects/${p}/runs/${mock.data.runs.at(-1).id}`], ["run-history", `/projects/${p}/runs/${mock.data.runs[2].id}?tab=history&version=3`],
  ["run", `/projects/${p}/runs/${mock.data.runs[1].id}?step=7`],
  ["agents", `/projects/${p}/agents`], ["agents-none", `/projects/${p}/agents?status=terminated`], ["agent-types", `/projects/${p}/agents?tab=types`, (page) => page.getByText("Versions").first().click()],
  ["spawn", `/projects/${p}/agents`, button("Spawn agent")], ["import-type", `/projects/${p}/agents`, button("Import type")], ["terminate", `/projects/${p}/agents`, button(/^Terminate /)],
  ["gateway", `/projects/${p}/gateway`], ["gateway-keys", `/projects/${p}/gateway?tab=keys`, (page) => page.locator("main summary").first().click()], ["gateway-keys-none", `/projects/${mock.data.projects[1].id}/gateway?tab=keys`],
  ["new-key", `/projects/${p}/gateway?tab=keys&new=key`], ["key-menu", `/projects/${p}/gateway?tab=keys`, button(/^Actions: Nightly/)], ["key-revoke", `/projects/${p}/gateway?tab=keys`, async (page) => { await button(/^Actions: Nightly/)(page); await page.getByRole("menuitem", { name: "Revoke" }).click(); }],
  ["key-secret", `/projects/${p}/gateway?tab=keys&new=key`, async (page) => { await page.getByLabel("Name", { exact: true }).fill("A program"); await page.getByRole("button", { name: "Create" }).click(); await page.locator("[data-secret]").waitFor(); }],
  ["playground", `/projects/${p}/gateway?tab=playground`], ["playground-reader", `/projects/${mock.data.projects[2].id}/gateway?tab=playground`],
  ["playground-answer", `/projects/${p}/gateway?tab=playground`, played("Which way are halves rounded?", "[data-way]")], ["playground-failed", `/projects/${p}/gateway?tab=playground`, played("fail", "[data-answer-error]")], ["playground-broken", `/projects/${p}/gateway?tab=playground`, played("break", '[data-answer="lost"]')],
  ["models", "/models"], ["new-provider", "/models", button("New provider")], ["edit-provider", "/models", async (page) => { await button(/^Actions: basement/)(page); await page.getByRole("menuitem", { name: "Edit" }).click(); await page.getByLabel("Address").fill("https://localhost/v1"); await page.getByRole("button", { name: "Save" }).click(); await page.getByText("leads into a private network").waitFor(); }],
  ["replace-key", "/models", async (page) => { await button(/^Actions: acme/)(page); await page.getByRole("menuitem", { name: "Replace key" }).click(); }], ["delete-provider", "/models", async (page) => { await button(/^Actions: acme/)(page); await page.getByRole("menuitem", { name: "Delete" }).click(); }],
  ["edit-group", "/models", button("Edit: code")], ["new-group", "/models", button("New group")], ["remove-group", "/models", button("Remove: code")],
  ["all-costs", "/costs"], ["costs-alerts", `/projects/${mock.data.projects[1].id}/costs`], ["new-budget", `/projects/${p}/costs`, button("Add budget")], ["edit-budget", `/projects/${p}/costs`, button(/^Edit: Agent/)], ["remove-budget", `/projects/${p}/costs`, button(/^Remove: Sprint/)], ["costs", `/projects/${p}/costs`], ["costs-agent", `/projects/${p}/costs?by=agent`], ["activity", `/projects/${p}/activity`],
  ["audit", `/projects/${p}/audit`, (page) => page.locator("main summary").first().click()],
  ["settings", `/projects/${p}/settings`], ["settings-policy", `/projects/${p}/settings?tab=policy`], ["settings-budget", `/projects/${p}/settings?tab=budget`],
  ["settings-members", `/projects/${p}/settings?tab=members`], ["remove-member", `/projects/${p}/settings?tab=members`, button(/^Remove /)], ["settings-system", `/projects/${p}/settings?tab=system`],
  ["missing", "/nowhere"],
];
const onPhone = [["navigation", `/projects/${p}`, button("Open navigation")]];

async function look(page, label, name) {
  problems.push(...(await faults(page)).map((text) => `${label} ${name}: ${text}`));
  const wider = await overflow(page);
  if (wider > 0) problems.push(`${label} ${name}: the page is ${wider} px wider than the screen`);
  await page.screenshot({ path: `${OUT}${label}-${name}.png` });
}

async function visit(label, options, extra = []) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const errors = [];
  watchErrors(page, errors);
  for (const name of ["register", "login"]) {
    await page.goto(`${mock.url}/${name}`);
    await page.getByLabel("E-mail").waitFor();
    if (!only || only === name) await look(page, label, name);
  }
  await page.getByLabel("E-mail").fill(LOGIN.email);
  await page.getByLabel("Password").fill(LOGIN.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL("**/inbox");
  for (const [name, path, open] of [...screens, ...extra]) {
    if (only && name !== only) continue;
    try {
      await page.goto(`${mock.url}${path}`);
      await settled(page);
      if (open) {
        await open(page);
        await settled(page);
      }
      await look(page, label, name);
    } catch (error) {
      problems.push(`${label} ${name}: ${String(error.message).split("\n")[0]}`);
    }
  }
  problems.push(...errors.map((text) => `${label}: ${text}`));
  await context.close();
}

for (const colorScheme of ["dark", "light"]) await visit(colorScheme, { viewport: { width: 1440, height: 900 }, colorScheme });
await visit("phone", { viewport: { width: 390, height: 844 }, colorScheme: "light", isMobile: true, hasTouch: true }, onPhone);
await browser.close();
mock.close();
for (const problem of new Set(problems)) console.log(problem);
console.log(problems.length === 0 ? "every screen is clean" : `${problems.length} problems`);
process.exit(problems.length === 0 ? 0 : 1);
