// Walks every screen against the mock server: looks for errors and accessibility faults, in both
// themes and on a phone, and leaves screenshots in test-results/. Needs `npm run build` first.
import { mkdirSync } from "node:fs";
import { startMock, LOGIN } from "../test/mock/server.mjs";
import { faults, launch, overflow, watchErrors } from "./browser.mjs";

const OUT = new URL("../test-results/", import.meta.url).pathname;
mkdirSync(OUT, { recursive: true });
const only = process.argv[2];

const mock = await startMock();
const browser = await launch();
const problems = [];
const p = mock.data.projects[0].id;
const story = mock.data.stories[0].id;
const merge = mock.data.approvals[0].id;
const screens = [
  ["inbox", "/inbox"], ["approval", `/projects/${p}/approvals/${merge}`], ["approval-arguments", `/projects/${p}/approvals/${mock.data.approvals[2].id}`], ["approval-question", `/projects/${p}/approvals/${mock.data.approvals[5].id}`],
  ["projects", "/projects"], ["board", `/projects/${p}`], ["list", `/projects/${p}?view=list`], ["new-story", `/projects/${p}?new=story`],
  ["story", `/projects/${p}/stories/${story}`], ["story-changes", `/projects/${p}/stories/${story}?tab=changes`], ["story-tests", `/projects/${p}/stories/${story}?tab=tests`],
  ["story-conversation", `/projects/${p}/stories/${story}?tab=conversation`], ["story-history", `/projects/${p}/stories/${story}?tab=history&version=3`],
  ["run", `/projects/${p}/runs/${mock.data.runs[1].id}?step=7`], ["agents", `/projects/${p}/agents`], ["agent-types", `/projects/${p}/agents?tab=types`], ["costs", `/projects/${p}/costs`],
  ["activity", `/projects/${p}/activity`], ["audit", `/projects/${p}/audit`], ["settings", `/projects/${p}/settings`], ["settings-policy", `/projects/${p}/settings?tab=policy`], ["settings-budget", `/projects/${p}/settings?tab=budget`], ["settings-members", `/projects/${p}/settings?tab=members`], ["settings-system", `/projects/${p}/settings?tab=system`], ["missing", "/nowhere"],
];

async function visit(label, context, names) {
  const page = await context.newPage();
  const errors = [];
  watchErrors(page, errors);
  await page.goto(`${mock.url}/login`);
  await page.getByLabel("E-mail").fill(LOGIN.email);
  await page.getByLabel("Password").fill(LOGIN.password);
  if (!only) problems.push(...(await faults(page)).map((text) => `${label} login: ${text}`));
  await page.screenshot({ path: `${OUT}${label}-login.png` });
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL("**/inbox");
  for (const [name, path] of screens) {
    if (only && name !== only) continue;
    if (names && !names.includes(name)) continue;
    await page.goto(`${mock.url}${path}`);
    await page.waitForLoadState("load");
    await page.waitForTimeout(700);
    problems.push(...(await faults(page)).map((text) => `${label} ${name}: ${text}`));
    const wider = await overflow(page);
    if (wider > 0) problems.push(`${label} ${name}: the page is ${wider} px wider than the screen`);
    await page.screenshot({ path: `${OUT}${label}-${name}.png` });
  }
  problems.push(...errors.map((text) => `${label}: ${text}`));
  await page.close();
}

for (const colorScheme of ["dark", "light"]) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme });
  await visit(colorScheme, context);
  await context.close();
}
const phone = await browser.newContext({ viewport: { width: 390, height: 844 }, colorScheme: "light", isMobile: true, hasTouch: true });
await visit("phone", phone);
await browser.close();
mock.close();
for (const problem of new Set(problems)) console.log(problem);
console.log(problems.length === 0 ? "every screen is clean" : `${problems.length} problems`);
process.exit(problems.length === 0 ? 0 : 1);
