// The main job, walked in a real browser: sign in, answer the approvals an agent asks for, send a
// pull request back with a line comment, see the loop come round live, approve it by keyboard only,
// and see the story done. Then what the people around it do, and every main screen in both themes
// and on a phone, without accessibility faults. SYNDARIX_BINARY names the built binary; without it
// the mock server is used. SCREENSHOTS names a folder that gets the pictures of the documentation.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { faults, launch, overflow, settled, until, watchErrors } from "./browser.mjs";
import { operate } from "./operate.mjs";
import { startTarget } from "./target.mjs";

/** An agent's turn, from the decision to the next question. */
const TURN_MS = Number(process.env.SYNDARIX_TURN_MS ?? 120_000);
/** Questions that come before the pull request (requirements, design) and beside it. */
const MAX_DECISIONS = 15;
const COMMENT = "Please explain this line in a comment.";

const target = await startTarget();
const real = target.name !== "mock";
const OUT = new URL("../test-results/walk/", import.meta.url).pathname;
mkdirSync(OUT, { recursive: true });
/** What the documentation shows. */
const PICTURES = ["inbox", "approval", "approval-line-comment", "story", "board", "dark-run", "dark-costs", "dark-audit", "gateway", "playground", "light-approval", "light-board", "light-story", "phone-approval", "phone-inbox", "api"];
const browser = await launch();
const problems = [];
const started = Date.now();
const say = (text) => console.log(`${((Date.now() - started) / 1_000).toFixed(1).padStart(6)} s  ${text}`);

const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "dark" });
const page = await context.newPage();
page.setDefaultTimeout(20_000);
watchErrors(page, problems);
async function shot(name, on = page) {
  await on.screenshot({ path: `${OUT}${name}.png` });
  if (!process.env.SCREENSHOTS || !PICTURES.includes(name)) return;
  mkdirSync(process.env.SCREENSHOTS, { recursive: true });
  copyFileSync(`${OUT}${name}.png`, `${process.env.SCREENSHOTS}/${name}.png`);
}
/** What the page says of an answer that the server took. */
const answered = (state) => page.locator('section[role="status"]').filter({ hasText: new RegExp(`^${state}( with changes)? by `) });
const decision = (on = page) => on.getByRole("region", { name: "Decision" });
/** The pathname of a project's page, below which everything of it lives. */
let projectPath = "";

function check(condition, text) {
  if (!condition) throw new Error(text);
  say(text);
}

let token = null;
/** What the server itself says, beside what the page shows. */
async function api(path, options = {}) {
  if (token === null) {
    const session = await fetch(`${target.url}/api/v1/auth/login`, { method: "POST", body: new URLSearchParams({ username: target.email, password: target.password }) });
    token = (await session.json()).access_token;
  }
  const answer = await fetch(`${target.url}/api/v1${path}`, { ...options, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" } });
  if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status} ${await answer.text()}`);
  return answer.json();
}
const patches = (approval) => approval.diff.files.map((file) => file.patch).join("");

async function signIn(on) {
  await on.goto(`${target.url}/login`);
  await on.getByLabel("E-mail").fill(target.email);
  await on.getByLabel("Password").fill(target.password);
  await on.getByRole("button", { name: "Sign in" }).click();
  await on.waitForURL("**/inbox");
}

async function askForWork() {
  await page.goto(`${target.url}/projects`);
  await page.locator('main a[href^="/projects/"]').first().click();
  await page.getByRole("button", { name: /New story/ }).click();
  await page.getByLabel("Title").fill("Greet people by their name");
  await page.getByLabel("Description").fill("As a visitor I am greeted by my name, and by “friend” when I gave none.");
  await page.getByRole("button", { name: "Create and start" }).click();
  await page.waitForURL("**/stories/**");
  say("no question was waiting: wrote a story and started it");
}

/** Opens the first pending approval that is not in `seen`; the inbox fills by itself. */
async function openNext(seen) {
  await page.goto(`${target.url}/inbox`);
  const rows = page.locator("[data-approval]");
  const deadline = Date.now() + TURN_MS;
  for (;;) {
    const ids = await rows.evaluateAll((items) => items.map((item) => item.dataset.approval));
    const id = ids.find((candidate) => !seen.has(candidate));
    if (id) {
      seen.add(id);
      await page.locator(`[data-approval="${id}"] a`).first().click();
      await page.waitForURL("**/approvals/**");
      await decision().waitFor();
      projectPath = new URL(page.url()).pathname.split("/approvals/")[0];
      return true;
    }
    if (Date.now() > deadline) return false;
    await page.waitForTimeout(200);
  }
}

const hasDiff = async () => {
  await settled(page);
  return (await page.getByRole("region", { name: "Changes", exact: true }).count()) > 0;
};

async function press(...keys) {
  for (const key of keys) {
    await page.keyboard.press(key);
    // A chord is two keys in a row, but never in the same frame.
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  }
}

/** Answers questions until one shows a diff. */
async function reachDiff() {
  const seen = new Set();
  let written = false;
  for (let index = 0; index < MAX_DECISIONS; index += 1) {
    const quick = !written && index === 0 && (await waitForRows(15_000)) === false;
    if (quick) {
      await askForWork();
      written = true;
    }
    check(await openNext(seen), "an agent asks");
    const title = await page.getByRole("heading", { level: 1 }).innerText();
    if (await hasDiff()) return say(`a diff to decide: ${title}`);
    await press("a", "Enter");
    await answered("Approved").waitFor();
    say(`approved by keyboard: ${title}`);
  }
  throw new Error("no approval with a diff came");
}

async function waitForRows(ms) {
  await page.goto(`${target.url}/inbox`);
  return page.locator("[data-approval]").first().waitFor({ timeout: ms }).then(() => true, () => false);
}

async function requestChanges() {
  const line = page.locator("button[data-line^='new:']").first();
  await line.scrollIntoViewIfNeeded();
  await line.focus();
  await page.keyboard.press("Enter");
  await page.getByPlaceholder("What should change here?").fill(COMMENT);
  await shot("approval-line-comment");
  await page.keyboard.press("Control+Enter");
  await page.getByText("1 line comment goes with").waitFor();
  await page.getByLabel("Note").fill("Nearly there.");
  await decision().getByRole("button", { name: /Request changes/ }).click();
  await answered("Changes requested").waitFor();
  check((await decision().getByRole("button").count()) === 0, "changes requested with a line comment; its buttons are gone");
  await shot("approval-decided");
}

/** Follows the story without a reload: whatever appears now came over the event stream. */
async function followLoop() {
  const decided = new URL(page.url()).pathname.split("/").pop();
  // The words of a quick model are gone as soon as it has said them: they are watched for from before.
  await page.evaluate(() => new MutationObserver(() => { globalThis.said ||= document.querySelector("[data-live-text]") !== null; }).observe(document.body, { subtree: true, childList: true }));
  await page.locator('main a[href*="/stories/"]').first().click();
  await page.waitForURL("**/stories/**");
  await page.locator("[data-phase]").waitFor();
  if (real) {
    await page.waitForFunction(() => globalThis.said, null, { timeout: TURN_MS });
    say("the model's words appear as it says them");
  }
  await shot("story-working");
  // The question that was just answered may be shown for a moment longer.
  const link = page.locator(`header a[href*="/approvals/"]:not([href$="${decided}"])`);
  await link.waitFor({ timeout: TURN_MS });
  say("the loop came round, live");
  const story = page.url();
  await settled(page);
  await shot("story");
  return { story, first: decided, approval: new URL(await link.getAttribute("href"), target.url).pathname };
}

/** What the first reviewer wrote came to the engineer, and to the next reviewer; and the change is another one. */
async function checkRound(story, first, second) {
  const storyId = story.split("/").pop().split("?")[0];
  const before = await api(`${projectPath}/approvals/${first}`);
  const after = await api(`${projectPath}/approvals/${second}`);
  check(patches(before) !== patches(after), "the second round's change is another one");
  check(after.pull_request.comments.some((comment) => comment.body === COMMENT), "the second reviewer sees the comment of the first");
  const timeline = (await api(`${projectPath}/stories/${storyId}/timeline`)).items;
  const engineer = timeline.filter(({ run }) => run.stage === "implementation").at(-1);
  check(JSON.stringify(engineer.steps.map((step) => step.input)).includes(COMMENT), "the comment reached the engineer's run");
}

/** Not what the page says: the repository itself. */
async function checkRepository(story) {
  if (!target.dataDir) return;
  const storyId = story.split("/").pop().split("?")[0];
  const { number, merge_commit: commit } = await api(`${projectPath}/stories/${storyId}`);
  const bare = join(target.dataDir, "repositories", `${projectPath.split("/").pop()}.git`);
  const git = (...args) => execFileSync("git", ["-c", "safe.directory=*", "-C", bare, ...args], { encoding: "utf8" }).trim();
  check(git("merge-base", "--is-ancestor", commit, "main") === "", "main holds the merge commit");
  check(git("log", "-1", "--format=%P", commit).split(" ").length === 2, "it is a merge");
  check([String(number), storyId].includes(git("log", "-1", "--format=%(trailers:key=Story,valueonly)", commit)), "it names its story");
}

/** From the inbox to the answer without touching the pointer. */
async function approveByKeyboard(approval) {
  await press("g", "i");
  await page.waitForURL("**/inbox");
  await page.locator("[data-approval]").first().waitFor();
  const id = approval.split("/").pop();
  await page.locator(`[data-approval="${id}"]`).waitFor({ timeout: TURN_MS });
  for (let index = 0; index < 30; index += 1) {
    await press("j");
    if ((await page.locator("[data-current]").getAttribute("data-approval")) === id) break;
  }
  await press("o");
  await page.waitForURL(`**${approval}`);
  await decision().waitFor();
  check(await hasDiff(), "the new diff is there");
  await press("a");
  check((await page.evaluate(() => document.activeElement?.textContent))?.startsWith("Approve"), "A only brings the focus to Approve");
  await press("Enter");
  await answered("Approved").waitFor();
  say("approved by keyboard only");
}

async function answerUntilDone(story) {
  await page.goto(story);
  const deadline = Date.now() + TURN_MS * 2;
  for (;;) {
    const phase = await page.locator("[data-phase]").getAttribute("data-phase");
    if (phase === "done") break;
    if (Date.now() > deadline) throw new Error(`the story is still in ${phase}: ${await page.locator("[data-waiting]").innerText().catch(() => "")}`);
    const link = page.locator('header a[href*="/approvals/"]');
    if ((await link.count()) > 0) {
      await link.click();
      await decision().waitFor();
      await press("a", "Enter");
      await answered("Approved").waitFor();
      await page.goto(story);
    }
    await page.waitForTimeout(200);
  }
  await settled(page);
  await shot("story-done");
  say("the story is done");
}

/** At full control the result of every stage is asked about, as a routine question; here nothing else but the merge. */
async function askForStages(ask) {
  const policy = await api(`${projectPath}/policy`);
  const asked = ["stage_work", "pull_request_merge", "human_input"];
  const rows = policy.rows.map((row) => (ask && !asked.includes(row.action) && row.category !== "critical" ? { ...row, full_control: "auto" } : ["story_requirements", "architecture_decision"].includes(row.action) ? { ...row, full_control: ask ? "auto" : "ask" } : row));
  await api(`${projectPath}/policy`, { method: "PUT", body: JSON.stringify({ ...policy, rows }) });
  await api(projectPath, { method: "PATCH", body: JSON.stringify({ autonomy: ask ? "full_control" : "milestone" }) });
}

/** Routine questions, decided together with one reason. */
async function approveTogether(count) {
  await page.goto(`${target.url}/inbox?lane=routine`);
  const rows = page.locator("[data-approval]");
  await until(async () => (await rows.count()) >= count, "the routine questions do not come", TURN_MS);
  await rows.first().getByRole("checkbox").check();
  await page.getByRole("button", { name: /^Select all \d+ that match/ }).click();
  await page.getByLabel("One reason for all").fill("Looked at together.");
  await page.getByLabel("One reason for all").blur();
  await press("Shift+A", "Enter");
  await page.getByText(/^\d+ items approved$/).waitFor();
  await until(async () => (await rows.count()) === 0, "decided questions stay in the inbox");
  const decided = (await api(`${projectPath}/approvals?state=decided`)).items.filter((item) => item.decided?.note === "Looked at together.");
  check(decided.length >= count && decided.every((item) => item.state === "approved"), `${decided.length} questions decided together, each with its own entry`);
}

/** Starts the other stories by key, and sees them work their way to a question, all without a reload. */
async function startTheOthers() {
  await page.goto(`${target.url}${projectPath}`);
  const waiting = page.locator('section[aria-label^="Not started"] [data-story]');
  await page.locator("[data-story]").first().waitFor();
  const ids = await waiting.evaluateAll((items) => items.map((item) => item.dataset.story));
  await askForStages(true);
  for (const id of ids) {
    await page.locator(`[data-story="${id}"] a`).first().focus();
    await page.keyboard.press("Shift+ArrowRight");
    await until(async () => (await page.locator(`section[aria-label^="Not started"] [data-story="${id}"]`).count()) === 0, `story ${id} did not start`, TURN_MS);
  }
  // The board moves a card before the server has answered.
  await until(async () => (await api(`${projectPath}/stories`)).items.every((item) => !ids.includes(item.id) || item.started), "a story did not start");
  await approveTogether(ids.length);
  await askForStages(false);
  await page.goto(`${target.url}${projectPath}`);
  for (const close of await page.locator("[data-toast] button").all()) await close.click().catch(() => undefined);
  await until(async () => (await page.locator('section[aria-label^="Implementation"] [data-story], section[aria-label^="Review"] [data-story]').count()) > 0, "no other story came to its implementation", TURN_MS);
  await shot("board");
  await page.goto(`${target.url}/inbox`);
  await until(async () => (await page.locator("[data-approval]").count()) >= ids.length, "not every story asks", TURN_MS);
  await settled(page);
  await shot("inbox");
  say(`${ids.length} more stories ask for their merge`);
  return new URL(await page.locator("[data-approval] a").first().getAttribute("href"), target.url).pathname;
}

/** Says no, by keyboard: without a reason nothing is sent, with one the story is held. */
async function reject(row) {
  const id = await row.getAttribute("data-approval");
  await row.locator("a").first().click();
  await page.waitForURL(`**/approvals/${id}`);
  await decision().waitFor();
  await press("d", "Enter");
  check((await api(`${projectPath}/approvals/${id}`)).state === "pending", "a rejection without a reason is not sent");
  await page.getByLabel("Note").fill("Not in this release.");
  await press("Control+Enter", "Enter");
  await answered("Rejected").waitFor();
  const { state, decided, story } = await api(`${projectPath}/approvals/${id}`);
  check(state === "rejected" && decided.note === "Not in this release.", "rejected by keyboard, with its reason");
  await until(async () => (await api(`${projectPath}/stories/${story.id}`)).phase === "blocked", "the rejected story is not held");
}

/** Every main screen, without an accessibility fault. */
async function inspect(label, on, approvalPath, storyPath, screenshots) {
  const run = await firstRun(on, storyPath);
  const screens = [
    ["inbox", "/inbox"], ["approval", approvalPath], ["projects", "/projects"], ["board", projectPath], ["list", `${projectPath}?view=list`], ["story", storyPath],
    ["story-changes", `${storyPath}?tab=changes`], ["story-tests", `${storyPath}?tab=tests`], ["story-history", `${storyPath}?tab=history`], ["story-conversation", `${storyPath}?tab=conversation`],
    ...(run ? [["run", run]] : []),
    ["agents", `${projectPath}/agents`], ["costs", `${projectPath}/costs`], ["all-costs", "/costs"], ["gateway", `${projectPath}/gateway`], ["gateway-keys", `${projectPath}/gateway?tab=keys`], ["playground", `${projectPath}/gateway?tab=playground`], ["activity", `${projectPath}/activity`], ["audit", `${projectPath}/audit`], ["settings", `${projectPath}/settings?tab=policy`],
  ];
  for (const [name, path] of screens) {
    await on.goto(`${target.url}${path}`);
    await settled(on);
    problems.push(...(await faults(on)).map((text) => `${label} ${name}: ${text}`));
    const wider = await overflow(on);
    if (wider > 0) problems.push(`${label} ${name}: ${wider} px wider than the screen`);
    if (screenshots) await shot(`${label}-${name}`, on);
  }
  say(`${label}: ${screens.length} screens looked at`);
}

async function firstRun(on, storyPath) {
  await on.goto(`${target.url}${storyPath}`);
  const link = on.locator('main a[href*="/runs/"]').first();
  return (await link.waitFor({ timeout: 5_000 }).then(() => true, () => false)) ? link.getAttribute("href") : null;
}

async function help() {
  await page.goto(`${target.url}/inbox`);
  await settled(page);
  await press("?");
  await page.getByRole("dialog").getByText("Request changes").first().waitFor();
  await press("Escape", "Control+k");
  await page.getByPlaceholder("Search or run a command…").fill("audit");
  await press("Enter");
  await page.waitForURL("**/audit");
  say("shortcut help and palette");
  await page.reload();
  await page.getByRole("button", { name: "Verify now" }).waitFor();
  say("a reload keeps the session");
}

let failed = null;
try {
  await signIn(page);
  say(`signed in at ${target.name}`);
  await reachDiff();
  await shot("approval");
  await requestChanges();
  const { story, first, approval } = await followLoop();
  if (real) await checkRound(story, first, approval.split("/").pop());
  await approveByKeyboard(approval);
  await answerUntilDone(story);
  await checkRepository(story);
  await help();
  const storyPath = new URL(story).pathname;
  const open = real ? await startTheOthers() : approval;
  if (real) {
    await page.goto(`${target.url}/inbox`);
    await page.locator("[data-approval]").first().waitFor();
    await reject(page.locator("[data-approval]").nth(1));
  }
  if (real) await operate({ page, url: target.url, project: projectPath, say, shot });
  const looks = [["dark", { viewport: { width: 1440, height: 900 }, colorScheme: "dark" }], ["light", { viewport: { width: 1440, height: 900 }, colorScheme: "light" }], ["phone", { viewport: { width: 390, height: 844 }, colorScheme: "light", isMobile: true, hasTouch: true }]];
  await Promise.all(looks.map(async ([label, options]) => {
    const other = await browser.newContext(options);
    const tab = await other.newPage();
    tab.setDefaultTimeout(30_000);
    watchErrors(tab, problems);
    await signIn(tab);
    await inspect(label, tab, open, storyPath, true);
    await other.close();
  }));
} catch (error) {
  failed = error;
  await shot("failure").catch(() => undefined);
}
await browser.close();
await target.stop();
for (const problem of new Set(problems)) console.log(problem);
if (failed) console.error(failed);
if (failed || problems.length > 0) process.exit(1);
say("the walk is complete");
