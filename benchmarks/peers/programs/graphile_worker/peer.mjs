// graphile-worker: jobs on PostgreSQL.
//   peer.mjs prepare | work | enqueue-slow | produce single|batch SECONDS BACKLOG
// PEER_VARIANT=batched takes the settings of the "Performance" page of its documentation.
import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";
import pg from "pg";
import { BATCH, CLIENTS, DATABASE_URL, SLOW_SECONDS, counter, pause, produce, say, started, waitForGo } from "./talk.mjs";

const batched = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
const preset = {
  worker: {
    connectionString: DATABASE_URL,
    concurrentJobs: 24,
    maxPoolSize: 25,
    logger: new Logger(() => () => {}),
    ...(process.env.PEER_VARIANT === "batched" ? batched : {}),
  },
};
const [, , role, mode, seconds, backlog] = process.argv;

async function work() {
  const done = counter();
  const nothing = () => {
    done.count += 1;
  };
  const slow = async () => {
    started();
    await pause(SLOW_SECONDS * 1000);
  };
  const runner = await run({ preset, taskList: { nothing, slow } });
  say({ ready: true });
  await runner.promise;
}

async function enqueue() {
  const pgPool = new pg.Pool({ connectionString: DATABASE_URL, max: CLIENTS });
  const utils = await makeWorkerUtils({ preset, pgPool });
  if (role === "enqueue-slow") {
    await utils.addJob("slow", {});
  } else {
    await waitForGo();
    const jobs = Array.from({ length: BATCH }, () => ({ identifier: "nothing", payload: {} }));
    await produce(mode, Number(seconds), Number(backlog), {
      one: () => utils.addJob("nothing", {}),
      batch: () => utils.addJobs(jobs),
      left: async () => Number((await pgPool.query("select count(*) from graphile_worker.jobs")).rows[0].count),
    });
  }
  await utils.release();
  await pgPool.end();
}

if (role === "prepare") await runMigrations({ preset });
else if (role === "work") await work();
else await enqueue();
