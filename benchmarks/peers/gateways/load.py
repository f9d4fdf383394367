"""One cell at one target: the load, and what it cost."""

import dataclasses
import json

from driver import measure
from driver.program import READY_LIMIT, Failed, Program

WARM_UP = 1.0
# An answer under way when the span ends is waited for this long.
DRAIN_LIMIT = 60


@dataclasses.dataclass
class Measured:
    rate: float
    p50: float
    p99: float
    first_p50: float
    first_p99: float
    # CPU milliseconds for each request: of the gateway, of PostgreSQL, of the upstream and of the load tool.
    gateway_cpu: float | None
    database_cpu: float | None
    upstream_cpu: float
    load_cpu: float


def run(tool, target, upstream_pid, cell, seconds, folder):
    program = Program([tool, "load"], {}, folder, "load")
    settings = {
        "address": target.address, "path": target.path(cell.way), "key": target.key, "body": cell.body(target.model(cell.way)),
        "connections": cell.connections, "warm_up": WARM_UP, "seconds": seconds, "events": cell.events,
    }
    program.process.stdin.write(json.dumps(settings))
    program.process.stdin.close()
    pids = {"gateway": target.pid, "database": target.database_pid, "upstream": upstream_pid, "load": program.process.pid}
    program.line(WARM_UP + READY_LIMIT, "the end of the warm-up")
    before = cpu(pids)
    program.line(seconds + READY_LIMIT, "the end of the span")
    after = cpu(pids)
    seen = program.line(DRAIN_LIMIT, "the result")
    program.finish()
    program.stop()
    if seen["failed"] or not seen["count"]:
        raise Failed(f"{target.name}, {cell.title}: {seen['failed']} failed, {seen['count']} answered: {seen['failure']}")
    cost = {name: (after[name] - before[name]) * 1000 / seen["count"] for name in pids if pids[name]}
    return Measured(
        seen["count"] / seen["seconds"], seen["p50_ms"], seen["p99_ms"], seen["first_p50_ms"], seen["first_p99_ms"],
        cost.get("gateway"), cost.get("database"), cost["upstream"], cost["load"],
    )


def cpu(pids):
    """CPU seconds used so far by each of these processes and all below it."""
    processes = measure.all_processes()
    return {
        name: sum(processes[pid][1] for pid in tree(root, processes)) / measure.TICKS for name, root in pids.items() if root
    }


def tree(root, processes):
    return [pid for pid in processes if pid == root or measure.descends(pid, root, processes)]


def memory_mib(root):
    """What a process and all below it hold, shared pages counted by their share (PSS)."""
    total = 0
    for pid in tree(root, measure.all_processes()):
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
                total += next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
        except OSError:
            continue
    return total / 1024
