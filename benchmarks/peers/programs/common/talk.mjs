// How a JavaScript program of this folder talks with the driver; see talk.py.
import { appendFileSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const FOLDER = process.env.PEER_FOLDER ?? ".";
export const DATABASE_URL = process.env.PEER_DATABASE_URL ?? "";
export const BATCH = 500;
export const CLIENTS = 32;
export const SLOW_SECONDS = 600;

export const say = (line) => process.stdout.write(`peer: ${JSON.stringify(line)}\n`);
export const now = () => performance.now();
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function waitForGo() {
  const lines = createInterface({ input: process.stdin });
  say({ ready: true });
  const line = await new Promise((resolve) => lines.once("line", resolve).once("close", resolve));
  lines.close();
  process.stdin.unref?.();
  if (line !== "go") process.exit(1);
}

export const started = () => appendFileSync(join(FOLDER, "starts"), `${process.pid} ${Date.now() / 1000}\n`);

// Counts the jobs that this worker has run, where the producer can read it.
export function counter() {
  const done = { count: 0 };
  const [draft, path] = ["draft", "count"].map((name) => join(FOLDER, `${name}.${process.pid}`));
  setInterval(() => {
    writeFileSync(draft, String(done.count));
    renameSync(draft, path);
  }, 20);
  return done;
}

const done = () =>
  readdirSync(FOLDER)
    .filter((name) => name.startsWith("count."))
    .reduce((total, name) => total + Number(readFileSync(join(FOLDER, name), "utf8")), 0);

// Enqueues for some seconds with a bounded backlog, and waits until nothing is left.
export async function produce(mode, seconds, backlog, { one, batch, left }) {
  const begun = now();
  let sent = 0;
  let ran = 0;
  const watcher = setInterval(() => (ran = done()), 20);
  const client = async () => {
    while (now() - begun < seconds * 1000) {
      if (sent - ran >= backlog) {
        await pause(5);
        continue;
      }
      sent += mode === "single" ? 1 : BATCH;
      await (mode === "single" ? one() : batch());
    }
  };
  await Promise.all(Array.from({ length: mode === "single" ? CLIENTS : 1 }, client));
  while (ran < sent || (await left())) await pause(5);
  clearInterval(watcher);
  say({ count: sent, seconds: (now() - begun) / 1000 });
}
