// What is hard to bring about with a real server, against the mock: being second to decide, a
// question that moves on while it is read, refused moves, an expired token, a dropped stream,
// bulk decisions, edited arguments, the live pill. Needs `npm run build` first.
import { startMock, LOGIN } from "../test/mock/server.mjs";
import { launch, watchErrors } from "./browser.mjs";

const mock = await startMock();
const browser = await launch();
const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
const page = await context.newPage();
page.setDefaultTimeout(10_000);
const errors = [];
// Some cases take the server away for a moment.
watchErrors(page, errors, /status of (401|403|404|409|422|503)/);
const { data } = mock;
const p = data.projects[0].id;
const go = (path) => page.goto(`${mock.url}${path}`);
const approvalPath = (item) => `/projects/${item.project_id}/approvals/${item.id}`;
const bar = page.getByRole("region", { name: "Decision" });
const until = async (condition, text) => {
  for (let tries = 0; tries < 100; tries += 1) {
    if (await condition()) return;
    await page.waitForTimeout(50);
  }
  throw new Error(text);
};

const cases = {
  async "a sign-in leads to where one wanted to go, and only inside"() {
    await go(`/projects/${p}/costs`);
    await page.waitForURL("**/login?**");
    await page.getByLabel("E-mail").fill(LOGIN.email);
    await page.getByLabel("Password").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("E-mail or password is wrong.").waitFor();
    await page.getByLabel("Password").fill(LOGIN.password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL(`**/projects/${p}/costs`);
  },
  async "the skip link leads to the content"() {
    await page.reload();
    await page.getByRole("heading", { level: 1 }).waitFor();
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await until(() => page.evaluate(() => document.activeElement?.id === "content"), "the focus is not on the content");
  },
  async "a letter alone never decides, and Escape takes an answer back"() {
    await go("/inbox");
    await page.locator("[data-approval]").first().waitFor();
    const before = mock.writes.length;
    for (const key of ["j", "a"]) await page.keyboard.press(key);
    await page.locator("[data-approval] form").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("[data-approval] form").waitFor({ state: "detached" });
    for (const key of ["g", "a"]) await page.keyboard.press(key);
    await page.waitForURL("**/agents");
    if (mock.writes.length !== before) throw new Error("something was written");
  },
  async "bulk decides routine items only, and names what it left out"() {
    await go("/inbox");
    for (const item of data.approvals.filter((one) => one.lane !== "milestone")) await page.getByLabel(`Select ${item.title}`).check();
    await page.getByLabel("One reason for all").fill("fine");
    await page.getByLabel("One reason for all").blur();
    const before = mock.writes.length;
    await page.keyboard.press("Shift+A");
    await until(() => page.evaluate(() => /^Approve \d/.test(document.activeElement?.textContent ?? "")), "Shift+A does not lead to the button");
    if (mock.writes.length !== before) throw new Error("Shift+A decided by itself");
    await page.keyboard.press("Enter");
    await page.getByText(/items were left out/).waitFor();
    await page.getByText("2 items approved").waitFor();
    const bodies = mock.writes.filter((write) => write.path.endsWith("/decision")).map((write) => JSON.parse(write.body));
    if (bodies.length !== 2 || bodies.some((body) => body.note !== "fine")) throw new Error(JSON.stringify(bodies));
  },
  async "edited arguments are an approval with changes"() {
    const item = data.approvals[2];
    await go(approvalPath(item));
    const field = page.getByRole("textbox", { name: "Arguments" });
    await field.fill("{ broken");
    await page.getByText("This is not valid JSON.").waitFor();
    if (await bar.getByRole("button", { name: /^Approve/ }).isEnabled()) throw new Error("invalid arguments could be approved");
    await field.fill('{"command":"pg_dump --schema-only staging","timeout_seconds":10}');
    await bar.getByRole("button", { name: "Approve with changes" }).click();
    await page.locator('section[role="status"]').filter({ hasText: "Approved with changes" }).waitFor();
    const sent = JSON.parse(mock.writes.at(-1).body);
    if (sent.arguments.timeout_seconds !== 10 || sent.digest !== item.digest) throw new Error(mock.writes.at(-1).body);
  },
  async "rejecting wants a reason, by key and by button"() {
    await go(approvalPath(data.approvals[1]));
    await bar.waitFor();
    const before = mock.writes.length;
    await page.keyboard.press("d");
    await page.getByText("Write the reason first").waitFor();
    await page.keyboard.press("Enter");
    await bar.getByRole("button", { name: /^Reject/ }).click();
    await page.keyboard.type("Not in this release.");
    await page.keyboard.press("Control+Enter");
    if (!(await page.evaluate(() => document.activeElement?.textContent))?.startsWith("Reject")) throw new Error("the reason does not lead to the button");
    if (mock.writes.length !== before) throw new Error("something was written");
    await bar.getByRole("textbox").fill("");
  },
  async "a question to a person is answered by its note"() {
    const item = data.approvals[5];
    await go(approvalPath(item));
    await bar.waitFor();
    await page.keyboard.press("a");
    await page.getByText("Write the answer first").waitFor();
    await bar.getByLabel("Your answer").fill("Half to even, since 2021.");
    await bar.getByRole("button", { name: /^Send answer/ }).click();
    await page.locator('section[role="status"]').filter({ hasText: "Half to even, since 2021." }).waitFor();
    await until(() => page.evaluate(() => document.activeElement?.matches('section[role="status"]')), "the focus is not on the answer");
  },
  async "a merge whose change cannot be shown cannot be approved"() {
    const item = data.approvals[0];
    item.diff_unavailable = "the repository cannot show the change at 9d0e4f1b22 just now";
    await go(approvalPath(item));
    await page.getByText("the repository cannot show the change").waitFor();
    if (await bar.getByRole("button", { name: /^Approve/ }).isEnabled()) throw new Error("it could be approved blind");
    // Messages of the cases before must not lie over the button.
    await until(async () => (await page.locator("[data-toast]").count()) === 0, "the messages stay");
    // In one step: the page asks again by itself, too, and the button is gone then.
    const again = await page.getByRole("button", { name: "Try again" }).elementHandle();
    item.diff_unavailable = null;
    await again.evaluate((button) => button.click());
    await page.locator("button[data-line]").first().waitFor();
    await until(() => bar.getByRole("button", { name: /^Approve/ }).isEnabled(), "it cannot be approved");
  },
  async "an answer that the server did not take stays written, and is sent again as the same"() {
    const item = { ...data.approvals[1], id: "extra-1", title: "Extra requirements", digest: "sha256:extra", state: "pending", decided: null, comments: [] };
    data.approvals.push(item);
    await go("/inbox");
    const row = page.locator(`[data-approval="${item.id}"]`);
    await row.getByRole("button", { name: "Request changes" }).first().click();
    await row.getByLabel("Note").fill("Name the formats.");
    mock.failWhen((method, path) => method === "POST" && path.endsWith("/decision"));
    await row.locator("form").getByRole("button", { name: "Request changes" }).click();
    await page.getByText("Not decided").first().waitFor();
    if ((await row.getByLabel("Note").inputValue()) !== "Name the formats.") throw new Error("the note is lost");
    mock.failWhen(null);
    await row.locator("form").getByRole("button", { name: "Request changes" }).click();
    await row.waitFor({ state: "detached" });
    await until(() => page.evaluate(() => document.activeElement?.closest("[data-approval]") !== null), "the focus is on no row");
    const [first, second] = mock.writes.filter((write) => write.path.includes(item.id));
    if (!first?.key || first.key !== second?.key) throw new Error(`another key: ${first?.key} ${second?.key}`);
  },
  async "what is being written stays when somebody else was quicker"() {
    const item = { ...data.approvals[1], id: "extra-2", title: "Extra design", digest: "sha256:extra2", state: "pending", decided: null, comments: [] };
    data.approvals.push(item);
    await go("/inbox");
    const row = page.locator(`[data-approval="${item.id}"]`);
    await row.getByRole("button", { name: "Reject" }).first().click();
    await row.getByLabel("Note").fill("Half a thou");
    Object.assign(item, { state: "approved", decided: { by: { id: data.tom.id, name: data.tom.name }, at: new Date().toISOString(), outcome: "approved", note: "" } });
    mock.emit("approval.decided", p, `approval/${item.id}`, { title: item.title });
    await row.getByText("It was answered elsewhere").waitFor();
    if ((await row.getByLabel("Note").inputValue()) !== "Half a thou") throw new Error("the note is lost");
    await row.getByRole("button", { name: /^Cancel/ }).click();
    await row.waitFor({ state: "detached" });
    await go(approvalPath(item));
    await page.getByText("An unsent note").waitFor();
    await page.getByRole("button", { name: "Discard" }).click();
    await page.getByText("An unsent note").waitFor({ state: "detached" });
  },
  async "requesting changes wants a reason"() {
    await go(approvalPath(data.approvals[1]));
    await bar.getByRole("button", { name: /Request changes/ }).click();
    await page.getByText("Write a note or a line comment first").waitFor();
    if ((await page.evaluate(() => document.activeElement?.tagName)) !== "TEXTAREA") throw new Error("the focus is not on the note");
  },
  async "the second to decide is told who was first, and the buttons go"() {
    const item = data.approvals[1];
    await go(approvalPath(item));
    await bar.waitFor();
    // Someone else decides, and this browser does not hear of it.
    Object.assign(item, { state: "rejected", decided: { by: { id: data.tom.id, name: data.tom.name }, at: new Date().toISOString(), outcome: "rejected", note: "Not now." } });
    await bar.getByRole("button", { name: /^Approve/ }).click();
    await page.getByText(/Tom Brandt was first: rejected/).waitFor();
    await page.locator('section[role="status"]').filter({ hasText: "Rejected by Tom Brandt" }).waitFor();
    if ((await bar.getByRole("button").count()) !== 0) throw new Error("dead buttons");
  },
  async "a question that moves on while it is read is not decided by mistake"() {
    const item = data.approvals[0];
    await go(approvalPath(item));
    await page.locator("button[data-line]").first().waitFor();
    await bar.getByLabel("Note").fill("Half a note");
    await page.locator("button[data-line='new:1']").first().click();
    await page.getByPlaceholder("What should change here?").fill("Half a comment");
    item.digest = "sha256:moved";
    mock.emit("approval.reminded", p, `approval/${item.id}`, { title: item.title });
    await page.getByText("What is asked has changed since you opened it.").waitFor();
    if (await bar.getByRole("button", { name: /^Approve/ }).isEnabled()) throw new Error("the old version can be approved");
    await page.getByRole("button", { name: "Show the new version" }).click();
    await until(() => bar.getByRole("button", { name: /^Approve/ }).isEnabled(), "the new version cannot be approved");
    await page.getByText("1 unsent comment on an earlier version").waitFor();
    await page.getByText("Half a comment").waitFor();
    if ((await bar.getByLabel("Note").inputValue()) !== "Half a note") throw new Error("the note is lost");
    await page.getByRole("button", { name: "Discard" }).click();
    await bar.getByLabel("Note").fill("");
  },
  async "line comments survive a reload and are shown side by side too"() {
    await page.locator("button[data-line='new:12']").first().focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await page.getByPlaceholder("What should change here?").fill("Name this constant.");
    await page.getByRole("button", { name: "Add comment" }).click();
    await page.reload();
    await page.getByText("Name this constant.").waitFor();
    await page.getByRole("button", { name: "Side by side" }).click();
    await page.locator(".diff-split").first().waitFor();
    await page.getByText("Name this constant.").waitFor();
    await page.getByRole("button", { name: "Unified" }).click();
  },
  async "a refused move names its guard, by key and by the server"() {
    await go(`/projects/${p}`);
    await page.locator("[data-story]").first().waitFor();
    await page.locator(`[data-story="${data.stories[0].id}"] a`).focus();
    await page.keyboard.press("Shift+ArrowRight");
    await page.getByText("Guard: Testing starts only when the story's pull request is merged.").waitFor();
    await page.keyboard.press("s");
    await page.getByText(/Guard: story_not_started/).waitFor();
  },
  async "a story is started by moving it"() {
    const story = data.stories.find((item) => item.title === "Export to DATEV");
    await page.locator(`[data-story="${story.id}"] a`).focus();
    await page.keyboard.press("Shift+ArrowRight");
    await page.locator(`section[aria-label^="Analysis"] [data-story="${story.id}"]`).waitFor();
    if (!story.started) throw new Error("the server was not asked");
  },
  async "an expired token is renewed without anyone noticing"() {
    mock.expireTokens();
    await page.keyboard.press("g");
    await page.keyboard.press("i");
    await page.waitForURL("**/inbox");
    await page.locator("[data-approval]").first().waitFor();
    await page.keyboard.press("g");
    await page.keyboard.press("u");
    await page.getByText(/Chain sealed up to position/).waitFor();
  },
  async "a dropped stream resumes without a loss, and new activity waits behind a pill"() {
    await go("/inbox");
    await page.locator('[data-live="open"]').waitFor();
    // What was loaded before the stream opened is read once more: this shows that it was.
    data.approvals.push({ ...data.approvals[1], id: "extra-0", title: "Asked live", digest: "sha256:extra0", state: "pending", decided: null, comments: [] });
    mock.emit("approval.requested", p, "approval/extra-0", { title: "Asked live" });
    await page.locator('[data-approval="extra-0"]').waitFor();
    await page.keyboard.press("g");
    await page.keyboard.press("v");
    await page.getByRole("list", { name: "Activity" }).waitFor();
    mock.emit("story.created", p, "story/x1", { title: "Before the drop" }, "user");
    await page.locator("[data-pill]").filter({ hasText: "1 new" }).waitFor();
    mock.dropStreams();
    for (let index = 0; index < 11; index += 1) mock.emit("story.created", p, `story/y${index}`, { title: `During the drop ${index}` }, "user");
    await page.locator("[data-pill]").filter({ hasText: "12 new" }).waitFor();
    await page.locator("[data-pill]").click();
    await page.getByText("During the drop 10").waitFor();
    await page.getByText("Before the drop").waitFor();
    if ((await page.getByText("During the drop 0").count()) !== 1) throw new Error("an event is shown twice");
  },
  async "a tab that nobody looks at holds no stream, and hears what it missed"() {
    await go("/inbox");
    await page.locator('[data-live="open"]').waitFor();
    const look = (state) => page.evaluate((value) => {
      Object.defineProperty(document, "visibilityState", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, state);
    await look("hidden");
    await until(() => mock.streams() === 0, "the stream is still open");
    data.approvals.push({ ...data.approvals[1], id: "extra-3", title: "Asked while away", digest: "sha256:extra3", state: "pending", decided: null, comments: [] });
    mock.emit("approval.requested", p, "approval/extra-3", { title: "Asked while away" });
    await look("visible");
    await page.locator('[data-approval="extra-3"]').waitFor();
  },
  async "a reload while the server restarts waits for it, and nobody is signed out"() {
    mock.failWhen((_method, path) => path.startsWith("/api/"));
    await page.reload();
    await page.getByRole("heading", { name: "The server cannot be reached" }).waitFor();
    mock.failWhen(null);
    await page.locator("[data-approval]").first().waitFor();
    if (!page.url().endsWith("/inbox")) throw new Error(page.url());
  },
  async "a link that names only the approval finds its project"() {
    await go(`/approvals/${data.approvals[1].id}`);
    await page.waitForURL(`**${approvalPath(data.approvals[1])}`);
  },
  async "a project is created with one idempotency key"() {
    await go("/projects?new=1");
    await page.getByLabel("Name").fill("Website");
    await page.getByLabel("Repository").selectOption("url");
    await page.getByLabel("Location").fill("https://git.example.org/site.git");
    await page.getByRole("button", { name: "Create" }).click();
    await page.waitForURL(/\/projects\/[^/]+$/);
    const write = mock.writes.findLast((item) => item.path === "/api/v1/projects");
    if (!write.key || JSON.parse(write.body).repository.source !== "url") throw new Error(write.body);
  },
  async "the theme follows the system until it is chosen, and the choice stays"() {
    const canvas = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.emulateMedia({ colorScheme: "light" });
    const light = await canvas();
    await page.emulateMedia({ colorScheme: "dark" });
    if ((await canvas()) === light) throw new Error("does not follow the system");
    await page.getByRole("button", { name: "Theme: system" }).click();
    await page.getByRole("button", { name: "Theme: dark" }).click();
    await until(async () => (await canvas()) === light, "the choice has no effect");
    await page.reload();
    await until(async () => (await canvas()) === light, "the choice is forgotten");
  },
  async "versions of an agent type show what they changed"() {
    await go(`/projects/${p}/agents?tab=types`);
    await page.getByText("Versions").first().click();
    await page.getByText("The oldest version that is kept.").first().waitFor();
    await page.locator("ins").filter({ hasText: "max_steps 60" }).first().waitFor();
  },
  async "a sign-out ends every tab"() {
    const other = await context.newPage();
    await other.goto(`${mock.url}/inbox`);
    await other.locator("[data-approval]").first().waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL("**/login**");
    await other.waitForURL("**/login**");
    await other.close();
  },
};

let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
    console.log(`ok    ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n      ${String(error.message).split("\n").slice(0, 6).join("\n      ")}`);
    await page.screenshot({ path: new URL(`../test-results/behaviour-${failed}.png`, import.meta.url).pathname });
  }
}
for (const error of new Set(errors)) console.log(error);
await browser.close();
mock.close();
process.exit(failed || errors.length > 0 ? 1 : 0);
