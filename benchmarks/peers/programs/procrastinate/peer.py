"""Procrastinate: jobs on PostgreSQL.

    peer.py prepare | work | enqueue-slow | produce single|batch SECONDS BACKLOG
"""

import asyncio
import logging
import sys

import procrastinate
import talk

# Asynchronous jobs that one worker runs at the same time ("Concurrency" of its documentation).
CONCURRENCY = 20

logging.disable(logging.WARNING)
connector = procrastinate.PsycopgConnector(conninfo=talk.DATABASE_URL, min_size=4, max_size=talk.CLIENTS)
app = procrastinate.App(connector=connector)
counter = None


@app.task(name="nothing")
async def nothing():
    counter.count += 1


@app.task(name="slow")
async def slow():
    talk.started()
    await asyncio.sleep(talk.SLOW_SECONDS)


async def work():
    global counter
    counter = talk.Done()
    talk.say(ready=True)
    await app.run_worker_async(concurrency=CONCURRENCY, delete_jobs="successful", install_signal_handlers=False)


async def produce(mode, seconds, backlog):
    async def batch():
        await nothing.batch_defer_async(*({} for _ in range(talk.BATCH)))

    async def left():
        row = await connector.execute_query_one_async("select count(*) as n from procrastinate_jobs")
        return row["n"]

    talk.wait_for_go()
    await talk.produce(mode, float(seconds), int(backlog), nothing.defer_async, batch, left)


async def main(role, *rest):
    async with app.open_async():
        if role == "prepare":
            await app.schema_manager.apply_schema_async()
        elif role == "work":
            await work()
        elif role == "enqueue-slow":
            await slow.defer_async()
        else:
            await produce(*rest)


asyncio.run(main(*sys.argv[1:]))
