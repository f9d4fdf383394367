"""DBOS, the Python library: workflows whose steps are rows of PostgreSQL, and queues of workflows.

    peer.py prepare | work | enqueue-slow | steps IN_FLIGHT SECONDS | produce single|batch SECONDS BACKLOG
"""

import asyncio
import os
import sys
import time

import sqlalchemy
import talk
from dbos import DBOS, DBOSClient, DBOSConfig

# The library's default is 1 s: with it, that would be the figure.
POLL_SECONDS = 0.05
QUEUE = "jobs"
URL = talk.DATABASE_URL

config = DBOSConfig(
    name="peer",
    system_database_url=URL,
    sys_db_pool_size=32,
    application_version="1",
    executor_id=os.environ.get("PEER_EXECUTOR", "local"),
    log_level="CRITICAL",
)
counter = None


@DBOS.step()
async def step(number: int) -> int:
    return number


@DBOS.workflow()
async def six_steps() -> list[float]:
    times = []
    for number in range(talk.STEPS):
        begun = time.perf_counter()
        await step(number)
        times.append((time.perf_counter() - begun) * 1000)
    return times


@DBOS.workflow(name="nothing")
async def nothing() -> None:
    counter.count += 1


@DBOS.workflow(name="slow")
async def slow() -> None:
    talk.started()
    await asyncio.sleep(talk.SLOW_SECONDS)


def launch():
    DBOS(config=config)
    DBOS.launch()


def work():
    global counter
    counter = talk.Done()
    launch()
    DBOS.register_queue(QUEUE, polling_interval_sec=POLL_SECONDS)
    talk.say(ready=True)
    while True:
        time.sleep(60)


async def steps(in_flight, seconds):
    launch()
    talk.wait_for_go()
    await talk.run_workflows(int(in_flight), float(seconds), six_steps)


async def produce(mode, seconds, backlog):
    client = DBOSClient(system_database_url=URL, system_database_pool_size=talk.CLIENTS)
    engine = sqlalchemy.create_engine(URL)
    options = {"queue_name": QUEUE, "workflow_name": "nothing"}

    def many():
        with engine.begin() as connection:
            for _ in range(talk.BATCH):
                client.enqueue_in_transaction(connection, options)

    async def batch():
        await asyncio.to_thread(many)

    async def one():
        await client.enqueue_async(options)

    async def left():
        unfinished = "select count(*) from dbos.workflow_status where status in ('ENQUEUED', 'PENDING')"
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text(unfinished)).scalar()

    talk.wait_for_go()
    await talk.produce(mode, float(seconds), int(backlog), one, batch, left)


def main(role, *rest):
    if role == "prepare":
        launch()
        DBOS.destroy()
    elif role == "work":
        work()
    elif role == "enqueue-slow":
        DBOSClient(system_database_url=URL).enqueue({"queue_name": QUEUE, "workflow_name": "slow"})
    else:
        asyncio.run(steps(*rest) if role == "steps" else produce(*rest))
    # Its background threads would keep the process for a while.
    os._exit(0)


main(*sys.argv[1:])
