#!/usr/bin/env python3
"""Runs the same work on Syndarix and on the products that a user would pick instead, and prints the ratios.

    benchmarks/peers/run.py [--only WORDS] [--seconds N] [--without-ours] [--out FOLDER]

    --only WORDS      cells whose title contains every one of the words, e.g. --only "graphile jobs"
    --seconds N       how long each rate is measured (default: 5)
    --without-ours    take our figures from FOLDER as they are, instead of in turns with theirs
    --out FOLDER      where the JSON lines are and go (default: target/bench)

Exits 1 when a peer could not be installed or measured; the others are measured all the same. README.md says more.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import threading

# The scripts of `.ci` and these lie in a clone that should stay clean.
sys.dont_write_bytecode = True

from driver import install, measure, ours, program, report, takeover, works  # noqa: E402
from driver.cells import CELLS  # noqa: E402
from driver.servers import Postgres  # noqa: E402

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main():
    arguments = parse()
    program.adopt_orphans()
    os.makedirs(arguments.out, exist_ok=True)
    print(measure.machine(), flush=True)
    cells = [cell for cell in CELLS if all(word in cell.title.lower() for word in arguments.only.lower().split())]
    own = ours.Ours(REPOSITORY, arguments.seconds)
    if arguments.without_ours:
        own.read(arguments.out)
    sheet = report.Sheet(arguments.out, own.figures)
    faults = []
    installed, missing = install.all_of(sorted({cell.peer for cell in cells}, key=lambda peer: peer.name))
    faults += missing
    with tempfile.TemporaryDirectory(prefix="syndarix-peers-") as folder:
        # PostgreSQL runs as another user when we are root.
        os.chmod(folder, 0o755)
        postgres = Postgres()
        try:
            bench = works.Bench(postgres, installed, folder, arguments.seconds)
            for key, those in works_of(cell for cell in cells if cell.peer in installed):
                with in_turns(None if arguments.without_ours else own, key, faults):
                    run = run_takeovers if key == ours.TAKEOVER_KEY else run_cells
                    faults += run(bench, those, sheet)
        finally:
            program.stop_all()
            postgres.stop()
            program.sweep()
    sheet.finish()
    for fault in faults:
        print(f"bench-peers: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


def parse():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--without-ours", action="store_true")
    parser.add_argument("--out", default=os.path.join(REPOSITORY, "target", "bench"))
    return parser.parse_args()


def works_of(cells):
    """The cells of each work, in the order of the table."""
    works = {}
    for cell in cells:
        works.setdefault((cell.work, cell.in_flight), []).append(cell)
    return works.items()


@contextlib.contextmanager
def in_turns(own, key, faults):
    """Ours before theirs, and again after them."""

    def take():
        try:
            if own:
                own.take(key)
        except ours.Failed as failure:
            faults.append(str(failure))

    take()
    yield
    # How long a takeover takes is not a matter of the hour.
    if key != ours.TAKEOVER_KEY:
        take()


def run_cells(bench, cells, sheet):
    faults = []
    for cell in cells:
        load = measure.load()
        try:
            sheet.add(cell, bench.run(cell), load)
        except program.Failed as failure:
            faults.append(f"{cell.title}: {failure}")
            sheet.failed(cell, failure)
        finally:
            program.stop_all()
    return faults


def run_takeovers(bench, cells, sheet):
    """All at once: they wait, most of them for the whole minute."""
    faults, lock = [], threading.Lock()
    load = measure.load()

    def one(cell):
        try:
            seconds = takeover.run(bench, cell)
            with lock:
                sheet.add_takeover(cell, seconds, load)
        except program.Failed as failure:
            with lock:
                faults.append(f"{cell.title}: {failure}")
                sheet.failed(cell, failure)

    threads = [threading.Thread(target=one, args=(cell,), daemon=True) for cell in cells]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return faults


if __name__ == "__main__":
    main()
