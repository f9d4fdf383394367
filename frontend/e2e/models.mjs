// What the page of an organisation's providers and groups promises; run by pages.mjs.
import { faults, until } from "./browser.mjs";

const check = (condition, text) => { if (!condition) throw new Error(text); };

export function modelCases({ page, mock, go, written, expectingErrors }) {
  const row = (name) => page.locator(`[data-provider="${name}"]`);
  const group = (name) => page.locator(`[data-model-group="${name}"]`);
  const dialog = page.locator("dialog[open]");
  const chain = () => dialog.locator("[data-link]").evaluateAll((links) => links.map((link) => link.dataset.link));
  const choose = async (provider, what) => {
    await page.getByRole("button", { name: `Actions: ${provider}` }).click();
    await page.getByRole("menuitem", { name: what }).click();
  };
  return {
    async "a provider is made with a key that is not shown again, and what is wrong with it stands at its field"() {
      await go("/models");
      await page.getByRole("button", { name: "New provider" }).click();
      await dialog.getByRole("button", { name: "Create" }).click();
      check((await dialog.getByRole("alert").count()) === 2, "the name and the model are wanted");
      await dialog.getByLabel("Name", { exact: true }).fill("fresh");
      await dialog.getByLabel("Kind").selectOption("gemini");
      check((await dialog.getByLabel("Address").inputValue()).includes("googleapis"), "the address does not follow the kind");
      await dialog.getByLabel("Address").fill("https://127.0.0.1/v1");
      await dialog.getByLabel("Key").fill("a-key-that-ends-in-LAST");
      await dialog.getByLabel("Model", { exact: true }).fill("gemini-3.5-flash");
      await dialog.getByRole("button", { name: "Create" }).click();
      await dialog.getByText("leads into a private network").waitFor();
      check((await dialog.getByLabel("Address").getAttribute("aria-invalid")) === "true", "the address is not marked");
      check((await faults(page)).length === 0, (await faults(page)).join("; "));
      await dialog.getByLabel("Address").fill("https://generativelanguage.googleapis.com/v1beta");
      await dialog.getByRole("button", { name: "Create" }).click();
      await row("fresh").getByText("…LAST").waitFor();
      check(!(await page.content()).includes("a-key-that-ends"), "the key is on the page");
      check(written("/model-providers").every((write) => write.key === null), "an idempotency key went with a secret");
    },
    async "another address wants its key anew, and the models follow"() {
      await go("/models");
      await choose("acme", "Edit");
      await dialog.getByLabel("Address").fill("https://proxy.example/v1");
      await dialog.getByRole("button", { name: "Save" }).click();
      await dialog.getByText("must be given with another address").waitFor();
      await dialog.getByLabel("Key").fill("another-key-0123456789");
      await dialog.getByRole("button", { name: "Save" }).click();
      await row("acme").getByText("https://proxy.example/v1").waitFor();
      await row("acme").getByText("…6789").waitFor();
      await choose("acme", "Replace key");
      await dialog.getByLabel("New key").fill("short");
      await dialog.getByRole("button", { name: "Replace key" }).click();
      await dialog.getByText("must have 8 to").waitFor();
      await dialog.getByLabel("New key").fill("one-more-key-000000FOUR");
      await dialog.getByRole("button", { name: "Replace key" }).click();
      await row("acme").getByText("…FOUR").waitFor();
    },
    async "a chain is put in order by keys, with the focus on what moves"() {
      await go("/models");
      await page.getByRole("button", { name: "Edit: code" }).click();
      const before = await chain();
      await dialog.getByRole("button", { name: `Move ${before[0]} down` }).focus();
      await page.keyboard.press("Enter");
      await until(async () => (await chain())[1] === before[0], "it did not move");
      check((await page.evaluate(() => document.activeElement?.getAttribute("aria-label"))) === `Move ${before[0]} down`, "the focus stayed behind");
      await page.keyboard.press("Alt+ArrowUp");
      await until(async () => (await chain())[0] === before[0], "Alt and an arrow do not move it");
      await dialog.getByText(`${before[0]} is number 1 of ${before.length}`).waitFor({ state: "attached" });
      await page.keyboard.press("Alt+ArrowDown");
      await dialog.getByLabel(`Weight of ${before[0]}`).fill("many");
      await dialog.getByRole("button", { name: "Save" }).click();
      await dialog.getByText("A whole number from 0 to 1000").waitFor();
      await dialog.getByLabel(`Weight of ${before[0]}`).fill("7");
      await dialog.getByRole("button", { name: "Save" }).click();
      // What is gone cannot be kept: the server names the field.
      await dialog.getByText("is no deployment that you have").waitFor();
      await dialog.getByRole("button", { name: "Remove elsewhere/gpt-5.4-mini from the chain" }).click();
      await dialog.getByLabel("Cheaper group").selectOption("night");
      await dialog.getByRole("button", { name: "Save" }).click();
      await dialog.waitFor({ state: "detached" });
      const sent = JSON.parse(written("/model-groups/code").at(-1).body);
      check(sent.chain[1].deployment === before[0] && sent.chain[1].weight === 7 && sent.cheaper === "night", `sent: ${JSON.stringify(sent)}`);
      await group("code").getByText("past a soft limit, or where a hard one would not pay: night").waitFor();
    },
    async "a group is made of what there is, and removing it brings the configured one back"() {
      await go("/models");
      await page.getByRole("button", { name: "New group" }).click();
      await dialog.getByLabel("Name", { exact: true }).fill("Fast one");
      await dialog.getByLabel("Add deployment").selectOption("small");
      await dialog.getByRole("button", { name: "Save" }).click();
      await dialog.getByText("lower-case letters").waitFor();
      await dialog.getByLabel("Name", { exact: true }).fill("fast-one");
      await dialog.getByRole("button", { name: "Save" }).click();
      await group("fast-one").waitFor();
      await page.getByRole("button", { name: "Remove: code" }).click();
      await dialog.getByText("takes its place again").waitFor();
      await dialog.getByRole("button", { name: "Remove", exact: true }).click();
      await page.locator('[data-model-group="code"][data-source="configured"]').waitFor();
    },
    async "a deleted provider is gone, and a page without any says what one is for"() {
      await go("/models");
      const names = mock.models.providers.map((one) => one.name);
      for (const name of names) {
        await choose(name, "Delete");
        await dialog.getByRole("button", { name: "Delete" }).click();
        await row(name).waitFor({ state: "detached" });
      }
      await page.getByText("No providers of its own").waitFor();
      await expectingErrors(async () => {
        mock.failWhen((method, path) => method === "GET" && path.endsWith("/model-groups"));
        await page.reload();
        await page.getByRole("alert").getByRole("button", { name: "Try again" }).waitFor();
        mock.failWhen(null);
        await page.getByRole("alert").getByRole("button", { name: "Try again" }).click();
        await group("night").waitFor();
      });
    },
  };
}
