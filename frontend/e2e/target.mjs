// What a browser test runs against: the real binary in demo mode, a server that is up, or the mock.
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { startMock, LOGIN } from "../test/mock/server.mjs";

/** The demo unpacks a database and imports a repository before it answers. */
const START_MS = Number(process.env.SYNDARIX_START_MS ?? 120_000);
const STOP_MS = 20_000;

export async function startTarget() {
  if (process.env.SYNDARIX_URL) {
    return { name: "server", url: process.env.SYNDARIX_URL, email: process.env.SYNDARIX_EMAIL, password: process.env.SYNDARIX_PASSWORD, dataDir: process.env.SYNDARIX_DATA_DIR, stop: async () => {} };
  }
  if (process.env.SYNDARIX_BINARY) return startBinary(process.env.SYNDARIX_BINARY);
  const mock = await startMock();
  return { name: "mock", url: mock.url, email: LOGIN.email, password: LOGIN.password, stop: async () => mock.close() };
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Finds e-mail and password in what the demo prints, however it words them. */
export function credentials(output) {
  const text = stripVTControlCharacters(output);
  const email = /[\w.+-]+@[\w-]+(?:\.[\w-]+)*/.exec(text)?.[0];
  if (!email) return null;
  const labelled = /passw(?:or)?d["']?\s*[:=]?\s+["']?([^\s"',]+)/i.exec(text) ?? /passw(?:or)?d["']?[:=]["']?([^\s"',]+)/i.exec(text);
  const beside = text.slice(text.indexOf(email) + email.length).match(/^["']?\s*(?:\/|,|with|and|:)?\s*(\S+)/);
  const password = labelled?.[1] ?? beside?.[1];
  return password ? { email, password } : null;
}

async function startBinary(binary) {
  const dataDir = mkdtempSync(join(tmpdir(), "syndarix-e2e-"));
  // Started by root, the database runs as another user, who has to get to its folder.
  chmodSync(dataDir, 0o711);
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = spawn(binary, ["demo", "--data-dir", dataDir, "--listen", `127.0.0.1:${port}`], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const collect = (chunk) => {
    output += chunk;
    if (process.env.SYNDARIX_VERBOSE) process.stderr.write(chunk);
  };
  child.stdout.on("data", collect);
  child.stderr.on("data", collect);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const stop = async () => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(timer);
    rmSync(dataDir, { recursive: true, force: true });
  };
  const deadline = Date.now() + START_MS;
  for (;;) {
    const found = credentials(output);
    const ready = found && (await fetch(`${url}/readyz`).then((response) => response.ok, () => false));
    if (ready) return { name: "demo", url, ...found, dataDir, stop, output: () => output };
    if (child.exitCode !== null || Date.now() > deadline) {
      await stop();
      throw new Error(`the demo did not come up:\n${output.slice(-4_000)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}
