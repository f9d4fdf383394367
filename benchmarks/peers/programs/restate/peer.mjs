// Restate: a server with a log of its own, which calls the service below over HTTP/2.
//   peer.mjs prepare | work | enqueue-slow | steps IN_FLIGHT SECONDS | produce single SECONDS BACKLOG
// The driver starts the server; PEER_RESTATE_INGRESS, PEER_RESTATE_ADMIN and PEER_SERVICE_PORT say where things listen.
import { createEndpointHandler, service } from "@restatedev/restate-sdk";
import { Agent, request } from "node:http";
import { createServer } from "node:http2";
import { SLOW_SECONDS, counter, now, pause, produce, say, started, waitForGo } from "./talk.mjs";

const STEPS = 6;
const ingress = process.env.PEER_RESTATE_INGRESS;
const admin = process.env.PEER_RESTATE_ADMIN;
const port = Number(process.env.PEER_SERVICE_PORT);
const agent = new Agent({ keepAlive: true });
const [, , role, first, second, third] = process.argv;

// The SDK takes it for granted; Node.js has it from 22 on.
Promise.withResolvers ??= () => {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
};

function work() {
  const done = counter();
  const handlers = {
    // Every `ctx.run` is a journal entry that the server has stored before the promise resolves.
    steps: async (ctx) => {
      const times = [];
      for (let number = 0; number < STEPS; number += 1) {
        const begun = now();
        await ctx.run(`step ${number}`, () => number);
        times.push(now() - begun);
      }
      return times;
    },
    nothing: async () => {
      done.count += 1;
    },
    slow: async (ctx) => {
      await ctx.run("slow", async () => {
        started();
        await pause(SLOW_SECONDS * 1000);
      });
    },
  };
  const logger = (meta, ...message) => meta.level === "error" && console.error(...message);
  const handler = createEndpointHandler({ services: [service({ name: "peer", handlers })], logger });
  createServer(handler).listen(port, "127.0.0.1", () => say({ ready: true }));
}

function call(base, path, body) {
  return new Promise((resolve, reject) => {
    const options = { method: "POST", agent, headers: body ? { "content-type": "application/json" } : {} };
    const sent = request(base + path, options, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        if (response.statusCode >= 300) reject(new Error(`${path}: ${response.statusCode} ${text}`));
        else resolve(text ? JSON.parse(text) : null);
      });
    });
    sent.on("error", reject);
    sent.end(body ? JSON.stringify(body) : undefined);
  });
}

async function steps(inFlight, seconds) {
  await waitForGo();
  const begun = now();
  const times = [];
  const workflows = [];
  const lane = async () => {
    while (now() - begun < seconds * 1000) {
      const start = now();
      times.push(...(await call(ingress, "/peer/steps")));
      workflows.push(now() - start);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  say({ count: times.length, seconds: (now() - begun) / 1000, steps: times, workflows });
}

async function unfinished() {
  const query = "select count(*) as n from sys_invocation_status where status != 'completed'";
  const options = { method: "POST", headers: { "content-type": "application/json", accept: "application/json" } };
  const answer = await fetch(`${admin}/query`, { ...options, body: JSON.stringify({ query }) });
  return (await answer.json()).rows[0].n;
}

async function jobs() {
  await waitForGo();
  const one = () => call(ingress, "/peer/nothing/send");
  await produce(first, Number(second), Number(third), { one, left: unfinished });
}

if (role === "work") work();
else if (role === "prepare") await call(admin, "/deployments", { uri: `http://127.0.0.1:${port}` });
else if (role === "enqueue-slow") await call(ingress, "/peer/slow/send");
else if (role === "steps") await steps(Number(first), Number(second));
else await jobs();
agent.destroy();
