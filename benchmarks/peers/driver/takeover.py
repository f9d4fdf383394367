"""Kills a worker that has a job in hand, and waits until the job starts elsewhere."""

import os
import time

from .program import Failed
from .works import Stage

# Nobody waits longer for a stuck job; most libraries' own limits are minutes or hours.
LIMIT = 60
START_LIMIT = 60


def run(bench, cell):
    """Seconds from the kill to the next start of the job; None when it did not start within LIMIT."""
    stage = Stage(bench, cell)
    first = stage.work()
    if cell.server == "restate":
        stage.call("prepare")
    stage.call("enqueue-slow")
    if not wait_for_starts(stage, 1, START_LIMIT):
        raise Failed("the job did not start at all")
    if not cell.restart:
        stage.work(**dict(cell.second))
    killed = time.time()
    first.crash()
    if cell.restart:
        stage.start("work", **dict(cell.second))
    starts = wait_for_starts(stage, 2, LIMIT)
    return starts[1] - killed if starts else None


def wait_for_starts(stage, count, limit):
    """When the job was started, as soon as it was `count` times; None when that takes too long."""
    path, deadline = os.path.join(stage.folder, "starts"), time.monotonic() + limit
    while time.monotonic() < deadline:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
            if len(lines) >= count:
                return [float(line.split()[1]) for line in lines]
        time.sleep(0.02)
    return None
