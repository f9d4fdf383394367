"""What is measured: the peers, and for each work the cells in which it is done."""

import dataclasses

# The unit that a work is counted in.
UNITS = {"steps": "steps/s", "single": "jobs/s", "batch": "jobs/s"}


@dataclasses.dataclass(frozen=True)
class Peer:
    name: str
    version: str
    # Its folder below programs/, and what installs it.
    folder: str
    registry: str


GRAPHILE = Peer("graphile-worker", "0.17.3", "graphile_worker", "npm")
PROCRASTINATE = Peer("Procrastinate", "3.10.0", "procrastinate", "pip")
CELERY = Peer("Celery", "5.7.0", "celery", "pip")
DBOS_PYTHON = Peer("DBOS Python", "3.4.0", "dbos_python", "pip")
DBOS_RUST = Peer("DBOS Rust", "0.5.0", "dbos_rust", "cargo")
RESTATE = Peer("Restate", "1.7.12", "restate", "npm")
TRANSITIONS = Peer("transitions + SQLAlchemy", "0.9.3 + 2.1.9", "transitions", "pip")


@dataclasses.dataclass(frozen=True)
class Cell:
    peer: Peer
    # steps, single (jobs one by one), batch (jobs in batches), takeover
    work: str
    # What is special about its settings, for people.
    variant: str = ""
    in_flight: int = 0
    # Copies of the program that does the work: one interpreter uses one core.
    processes: int = 1
    # Jobs that may wait at most: less for slow ones, so that the end is not all waiting.
    backlog: int = 4000
    # redis:always, redis:everysec or restate; PostgreSQL is there anyway.
    server: str = ""
    # Environment of its programs; `second` only of the worker that is to take over.
    environment: tuple = ()
    second: tuple = ()
    # The other worker starts after the kill, in the place of the first, instead of standing by.
    restart: bool = False

    @property
    def title(self):
        works = {"steps": f"durable steps, {self.in_flight} in flight", "single": "jobs, one by one by 32 clients",
                 "batch": "jobs, in batches of 500", "takeover": "takeover after SIGKILL"}
        return f"{works[self.work]}: {self.peer.name}" + (f", {self.variant}" if self.variant else "")


def steps(peer, processes=1, **more):
    # One workflow at a time needs one process.
    return [Cell(peer, "steps", in_flight=count, processes=min(processes, count), **more) for count in (1, 32, 256)]


BATCHED = {"variant": "localQueue 500, batched completion", "environment": (("PEER_VARIANT", "batched"),)}
EVERYSEC = {"variant": "acks_late, AOF everysec", "server": "redis:everysec"}
ALWAYS = {"variant": "acks_late, AOF always", "server": "redis:always"}
FIRST, OTHER = (("PEER_EXECUTOR", "first"),), (("PEER_EXECUTOR", "other"),)

CELLS = [
    *steps(TRANSITIONS, processes=2),
    *steps(DBOS_PYTHON, processes=2),
    *steps(DBOS_RUST),
    *steps(RESTATE, server="restate"),
    Cell(GRAPHILE, "single", variant="default, 24 at once"),
    Cell(GRAPHILE, "single", **BATCHED),
    Cell(PROCRASTINATE, "single", processes=2, backlog=1000),
    Cell(CELERY, "single", backlog=1000, **EVERYSEC),
    Cell(CELERY, "single", backlog=1000, **ALWAYS),
    Cell(DBOS_PYTHON, "single", processes=2, backlog=1000),
    Cell(DBOS_RUST, "single", backlog=1000),
    Cell(RESTATE, "single", backlog=1000, server="restate"),
    Cell(GRAPHILE, "batch", variant="default, 24 at once"),
    Cell(GRAPHILE, "batch", **BATCHED),
    Cell(PROCRASTINATE, "batch", processes=2, backlog=1000),
    Cell(DBOS_PYTHON, "batch", processes=2, backlog=1000),
    Cell(GRAPHILE, "takeover", variant="default"),
    Cell(PROCRASTINATE, "takeover"),
    Cell(CELERY, "takeover", **EVERYSEC),
    Cell(DBOS_PYTHON, "takeover", variant="by another executor", environment=FIRST, second=OTHER),
    Cell(DBOS_PYTHON, "takeover", variant="restarted as the same executor", environment=FIRST, restart=True),
    Cell(DBOS_RUST, "takeover", variant="by another executor", environment=FIRST, second=OTHER),
    Cell(DBOS_RUST, "takeover", variant="restarted as the same executor", environment=FIRST, restart=True),
    Cell(RESTATE, "takeover", variant="service restarted at its address", server="restate", restart=True),
]
