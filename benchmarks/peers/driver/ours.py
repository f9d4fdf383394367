"""Our own figures, taken in turns with the peers': before those of a work, and again after them.

One machine does twice as much in one minute as in another when its host has other guests, so what is compared has to be
taken close together. What counts is the mean of the two.
"""

import dataclasses
import glob
import json
import os
import subprocess
import tempfile

# The figures of `.ci/bench` by (work, in flight): what takes the one by itself, and its name.
FIGURES = {
    ("steps", 1): ("transitions-1", "transitions, one stream"),
    ("steps", 32): ("transitions-32", "transitions, 32 streams"),
    ("steps", 256): ("transitions-256", "transitions, 256 streams"),
    ("single", 0): ("jobs-singly", "jobs, enqueued singly by 32 clients"),
    ("batch", 0): ("jobs-in-batches", "jobs, enqueued in batches"),
}
# Our takeover is measured by a chaos cell.
CELL = "worker-killed"
TAKEOVER = f"{CELL}, taken over, median"
TAKEOVER_KEY = ("takeover", 0)
SEEDS = "5"


class Failed(Exception):
    pass


@dataclasses.dataclass
class Figure:
    """What was measured, each time."""

    name: str
    unit: str
    values: list
    per_cpu: list

    @property
    def value(self):
        return sum(self.values) / len(self.values)

    @property
    def per_cpu_second(self):
        return sum(self.per_cpu) / len(self.per_cpu) if self.per_cpu else None


class Ours:
    def __init__(self, repository, seconds):
        self.repository, self.seconds, self.figures = repository, seconds, {}

    def take(self, key):
        """Once more."""
        if key == TAKEOVER_KEY:
            return self._takeover()
        option, _ = FIGURES[key]
        command = [os.path.join(self.repository, ".ci", "bench"), "--only", option]
        return self._run([*command, "--seconds", str(max(1, round(self.seconds)))], key)

    def _takeover(self):
        target = os.path.join(self.repository, os.environ.get("CARGO_TARGET_DIR", "target"), "release")
        command = [os.path.join(target, "examples", "chaos"), "--binary", os.path.join(target, "syndarix")]
        return self._run([*command, "--cells", CELL, "--seeds", SEEDS], TAKEOVER_KEY)

    def _run(self, command, key):
        with tempfile.TemporaryDirectory(prefix="syndarix-ours-") as folder:
            command = [*command, "--out", folder]
            ended = subprocess.run(command, cwd=self.repository, stdin=subprocess.DEVNULL, check=False)
            if ended.returncode:
                raise Failed(f"Syndarix: {os.path.basename(command[0])} exited with {ended.returncode}")
            self.read(folder, key)

    def read(self, folder, *keys):
        """Adds what lies in a folder: of a figure that was taken more than once, the newest."""
        lines = {}
        for path in sorted(glob.glob(os.path.join(folder, "*.jsonl")), key=os.path.getmtime):
            with open(path, encoding="utf-8") as file:
                lines.update((line["name"], line) for line in map(json.loads, file))
        for key in keys or (*FIGURES, TAKEOVER_KEY):
            if line := lines.get(TAKEOVER if key == TAKEOVER_KEY else FIGURES[key][1]):
                self._add(key, line)

    def _add(self, key, line):
        figure = self.figures.setdefault(key, Figure(line["name"], line["unit"], [], []))
        figure.values.append(line["value"])
        if "per_cpu_second" in line:
            figure.per_cpu.append(line["per_cpu_second"])
