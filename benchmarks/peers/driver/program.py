"""Starting and stopping the peers' programs; common/talk.py is the other end of what they say."""

import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading

from . import measure

# Seconds for what is not measured: starting an interpreter and its pool on a busy machine.
READY_LIMIT = 60
RUNNING, LOCK = set(), threading.Lock()


class Failed(Exception):
    """A peer did not do what it should; the message says which and how."""


class Program:
    """One process in a session of its own, so that it can be killed together with its children."""

    def __init__(self, command, environment, folder, name):
        self.name = name
        self.log = os.path.join(folder, f"{name}.log")
        self.lines = queue.Queue()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=log, start_new_session=True, text=True,
            )
        with LOCK:
            RUNNING.add(self)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with open(self.log, "a", encoding="utf-8") as log:
            for line in self.process.stdout:
                if line.startswith("peer: "):
                    self.lines.put(json.loads(line.removeprefix("peer: ")))
                else:
                    log.write(line)
                    log.flush()
        self.lines.put(None)

    def line(self, limit, what):
        try:
            line = self.lines.get(timeout=limit)
        except queue.Empty:
            raise Failed(f"{self.name}: {what} not within {limit:.0f} s{self.last_words()}") from None
        if line is None:
            raise Failed(f"{self.name}: ended instead of {what}{self.last_words()}")
        return line

    def ready(self):
        self.line(READY_LIMIT, "being ready")
        return self

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def finish(self, limit=READY_LIMIT):
        """Waits for its end."""
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name}: not done within {limit} s{self.last_words()}") from None
        if code:
            raise Failed(f"{self.name}: exited with {code}{self.last_words()}")

    def last_words(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            words = log.read().strip()[-600:]
        return f"; it said:\n{words}" if words else ""

    def kill(self, number=signal.SIGKILL):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def crash(self):
        """SIGKILL for it and its children at once."""
        self.kill()
        self.process.wait()
        with LOCK:
            RUNNING.discard(self)

    def stop(self):
        """Politely first: a server has files to close."""
        self.kill(signal.SIGTERM)
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            pass
        # Children may outlive the leader of the group.
        self.crash()


def stop_all():
    with LOCK:
        programs = list(RUNNING)
    for each in programs:
        each.stop()


def sweep():
    """Ends what is left of all that we started, each by its pid: there should be nothing."""
    for pid in measure.descendants():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def adopt_orphans():
    """A grandchild whose parent has ended becomes our child, so that its CPU seconds stay in sight (Linux)."""
    subreaper = 36
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(subreaper, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
