"""Does the work of one cell and measures it."""

import dataclasses
import os
import sys
import tempfile

from . import measure, servers
from .install import PROGRAMS
from .program import Failed, Program

# Seconds that a peer may take after the measured span to finish what is waiting.
DRAIN_LIMIT = 60


@dataclasses.dataclass
class Measured:
    count: int
    seconds: float
    cpu: float | None
    # Milliseconds, of steps and of whole workflows; empty for jobs.
    steps: list
    workflows: list


class Bench:
    """What all cells share."""

    def __init__(self, postgres, homes, folder, seconds):
        self.postgres, self.homes, self.folder, self.seconds = postgres, homes, folder, seconds

    def run(self, cell):
        stage = Stage(self, cell)
        if cell.work == "steps":
            return stage.steps(self.seconds)
        return stage.jobs(self.seconds)


class Stage:
    """A cell's folder, database and servers, ready for its programs."""

    def __init__(self, bench, cell):
        self.cell, self.home = cell, bench.homes[cell.peer]
        self.folder = tempfile.mkdtemp(dir=bench.folder)
        self.environment = {"PEER_FOLDER": self.folder, **dict(cell.environment)}
        if cell.peer.registry == "pip":
            path = [self.home, os.path.join(PROGRAMS, "common")]
            self.environment.update(PYTHONPATH=os.pathsep.join(path), PYTHONDONTWRITEBYTECODE="1")
        if cell.server.startswith("redis:"):
            self.add(servers.redis(self.folder, cell.server.removeprefix("redis:")))
        elif cell.server == "restate":
            self.add(servers.restate(self.folder, self.home))
        else:
            self.environment["PEER_DATABASE_URL"] = bench.postgres.database()
            self.call("prepare")

    def add(self, server_and_environment):
        _, environment = server_and_environment
        self.environment.update(environment)

    def start(self, *arguments, **more):
        command = {
            "pip": [sys.executable, os.path.join(PROGRAMS, self.cell.peer.folder, "peer.py")],
            "npm": ["node", os.path.join(self.home, "peer.mjs")],
            "cargo": [os.path.join(self.home, "target", "release", "peer-dbos")],
        }[self.cell.peer.registry]
        name = f"{self.cell.peer.folder}-{arguments[0]}"
        return Program([*command, *map(str, arguments)], {**self.environment, **more}, self.folder, name)

    def call(self, *arguments):
        """Runs a program to its end."""
        program = self.start(*arguments)
        program.finish()
        program.stop()

    def work(self, **more):
        """A worker, ready."""
        return self.start("work", **more).ready()

    def serve(self):
        """Restate calls a service: it has to be there, and known to the server."""
        self.work()
        self.call("prepare")

    def steps(self, seconds):
        if self.cell.server == "restate":
            self.serve()
        count, rest = divmod(self.cell.in_flight, self.cell.processes)
        shares = [count + (number < rest) for number in range(self.cell.processes)]
        # Each process has a name of its own: DBOS would recover the other's workflows otherwise.
        programs = [
            self.start("steps", share, seconds, PEER_EXECUTOR=f"executor{number}") for number, share in enumerate(shares)
        ]
        return self.measure(programs, seconds)

    def jobs(self, seconds):
        if self.cell.server == "restate":
            self.serve()
        else:
            for number in range(self.cell.processes):
                self.work(PEER_EXECUTOR=f"executor{number}")
        return self.measure([self.start("produce", self.cell.work, seconds, self.cell.backlog)], seconds)

    def measure(self, programs, seconds):
        for each in programs:
            each.ready()
        before = measure.cpu_seconds()
        for each in programs:
            each.go()
        results = [each.line(seconds + DRAIN_LIMIT, "the result") for each in programs]
        after = measure.cpu_seconds()
        measured = Measured(
            count=sum(result["count"] for result in results),
            seconds=max(result["seconds"] for result in results),
            cpu=after - before if after is not None else None,
            steps=[sample for result in results for sample in result.get("steps", [])],
            workflows=[sample for result in results for sample in result.get("workflows", [])],
        )
        if not measured.count:
            raise Failed("nothing was done")
        return measured
