"""How a Python program of this folder talks with the driver; talk.mjs says the same for JavaScript.

The driver starts a program, waits for its line `peer: {"ready": true}`, writes `go`, and reads one line with the
result. What else a library prints is ignored. Times are measured here, CPU seconds by the driver.
"""

import asyncio
import json
import os
import sys
import threading
import time

FOLDER = os.environ.get("PEER_FOLDER", ".")
DATABASE_URL = os.environ.get("PEER_DATABASE_URL", "")
# Steps of one workflow; jobs of one batch; clients that enqueue one by one.
STEPS = 6
BATCH = 500
CLIENTS = 32
# A job in hand when its worker is killed: longer than anybody waits for it.
SLOW_SECONDS = 600


def say(**line):
    print("peer: " + json.dumps(line), flush=True)


def wait_for_go():
    say(ready=True)
    if sys.stdin.readline().strip() != "go":
        sys.exit("the driver is gone")


def started():
    """A job that is to be taken over says that it runs, and where."""
    with open(os.path.join(FOLDER, "starts"), "a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {time.time()}\n")


class Done:
    """Counts the jobs that this worker has run, where the producer can read it."""

    def __init__(self):
        self.count = 0
        threading.Thread(target=self.publish, daemon=True).start()

    def publish(self):
        draft, path = (os.path.join(FOLDER, f"{name}.{os.getpid()}") for name in ("draft", "count"))
        while True:
            with open(draft, "w", encoding="utf-8") as file:
                file.write(str(self.count))
            # Renamed, so that nobody reads half a number.
            os.rename(draft, path)
            time.sleep(0.02)


def done():
    """Jobs run by all workers together."""
    total = 0
    for name in os.listdir(FOLDER):
        if name.startswith("count."):
            with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
                total += int(file.read())
    return total


async def produce(mode, seconds, backlog, one, batch, left):
    """Enqueues for some seconds with a bounded backlog, and waits until nothing is left.

    `one` enqueues a job, `batch` enqueues BATCH of them, `left` counts those that the peer has not finished.
    """
    sent, ran, begun = 0, 0, time.monotonic()

    async def client():
        nonlocal sent
        while time.monotonic() - begun < seconds:
            if sent - ran >= backlog:
                await asyncio.sleep(0.005)
                continue
            sent += 1 if mode == "single" else BATCH
            await (one() if mode == "single" else batch())

    async def watch():
        nonlocal ran
        while True:
            ran = done()
            await asyncio.sleep(0.02)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(client() for _ in range(CLIENTS if mode == "single" else 1)))
    while ran < sent or await left():
        await asyncio.sleep(0.005)
    watcher.cancel()
    say(count=sent, seconds=time.monotonic() - begun)


async def run_workflows(in_flight, seconds, workflow):
    """Keeps some workflows in flight. `workflow` returns how long each of its steps took, in ms."""
    workflows, steps, begun = [], [], time.monotonic()

    async def lane():
        while time.monotonic() - begun < seconds:
            start = time.perf_counter()
            steps.extend(await workflow())
            workflows.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(lane() for _ in range(in_flight)))
    say(count=len(steps), seconds=time.monotonic() - begun, steps=steps, workflows=workflows)
