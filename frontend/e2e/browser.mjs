// One way to start Chromium for every browser test.
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const CANDIDATES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export function launch() {
  const executablePath = CANDIDATES.find((path) => path && existsSync(path));
  if (!executablePath) throw new Error("no Chromium found: install it, or set CHROMIUM to its path");
  return chromium.launch({ executablePath, args: FLAGS });
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Serious and critical accessibility faults of the page as it stands. */
export async function faults(page) {
  // Evaluated by the debugger, which the page's content policy does not concern.
  await page.evaluate(axeSource);
  const result = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return result.violations
    .filter((violation) => violation.impact === "serious" || violation.impact === "critical")
    .map((violation) => `${violation.id}: ${violation.help} [${violation.nodes.slice(0, 3).map((node) => `${node.target.join(" ")} ${node.any[0]?.message ?? ""}`).join(" | ")}]`);
}

/** Waits until the page has what it asked for: nothing is a skeleton any more, and nothing moves. */
export async function settled(page) {
  await page.waitForFunction(() => document.readyState === "complete" && document.querySelector("h1") !== null && document.querySelector(".skeleton") === null);
  // Two frames: what just came is laid out, and lazy parts have asked for theirs.
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  await page.waitForFunction(() => document.querySelector(".skeleton") === null && document.getAnimations().every((animation) => animation.playState !== "running" || animation.effect?.getTiming().iterations === Infinity));
}

/** By how many pixels the page is wider than the screen. The content scrolls by itself, beside the page. */
export function overflow(page) {
  return page.evaluate(() => Math.max(...[document.documentElement, document.querySelector("main")].map((element) => (element ? element.scrollWidth - element.clientWidth : 0))));
}

/** Waits for a condition that no locator can say. */
export async function until(condition, text, limit = 20_000) {
  const deadline = Date.now() + limit;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(text);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Console errors and failed scripts: a page that works prints none. */
export function watchErrors(page, errors, expected = /status of (401|403|404|409|422)/) {
  page.on("pageerror", (error) => errors.push(`page error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !expected.test(message.text())) errors.push(`console: ${message.text()}`);
  });
}
