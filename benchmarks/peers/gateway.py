#!/usr/bin/env python3
"""Sends the same requests to the same upstream directly, through Syndarix, and through other gateways.

    benchmarks/peers/gateway.py [--only WORDS] [--seconds N] [--rounds N] [--target FOLDER] [--out FOLDER]

    --only WORDS      cells whose title contains every one of the words, e.g. --only "plain 64"
    --seconds N       how long each cell is measured in a round (default: 3)
    --rounds N        how often everything is measured; medians count (default: 3)
    --target FOLDER   where cargo has put the release build (default: target)
    --out FOLDER      where the JSON lines go (default: target/bench)

Exits 1 when a gateway could not be installed or measured; the others are measured all the same. docs/BENCHMARKS.md
says what is measured and how.
"""

import argparse
import os
import subprocess
import sys
import tempfile

# These lie in a clone that should stay clean.
sys.dont_write_bytecode = True

from driver import install, measure, program  # noqa: E402
from driver.servers import Postgres  # noqa: E402
from gateways import load, targets  # noqa: E402
from gateways.cells import CELLS, LITELLM, TENSORZERO  # noqa: E402
from gateways.sheet import Sheet  # noqa: E402

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main():
    arguments = parse()
    program.adopt_orphans()
    os.makedirs(arguments.out, exist_ok=True)
    machine = measure.machine()
    print(machine, flush=True)
    cells = [cell for cell in CELLS if all(word in cell.title.lower() for word in arguments.only.lower().split())]
    installed, faults = install.all_of([LITELLM, TENSORZERO])
    with tempfile.TemporaryDirectory(prefix="syndarix-gateways-") as folder:
        # PostgreSQL runs as another user when we are root.
        os.chmod(folder, 0o755)
        postgres = Postgres()
        try:
            faults += measure_all(arguments, cells, installed, postgres, folder, machine)
        finally:
            program.stop_all()
            postgres.stop()
            program.sweep()
    for fault in faults:
        print(f"bench-gateway: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


def parse():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--target", default=os.path.join(REPOSITORY, "target"))
    parser.add_argument("--out", default=os.path.join(REPOSITORY, "target", "bench"))
    return parser.parse_args()


def measure_all(arguments, cells, installed, postgres, folder, machine):
    release = os.path.join(os.path.abspath(arguments.target), "release")
    tool = os.path.join(release, "examples", "gateway_load")
    direct, upstream_pid = targets.upstream(tool, folder)
    all_targets, faults = started(direct, release, installed, postgres, folder)
    settings = {"machine": machine, "seconds": arguments.seconds, "warm_up": load.WARM_UP, "commit": commit()}
    sheet = Sheet(os.path.join(arguments.out, "gateway.jsonl"), all_targets, cells, settings)
    note_memory(sheet, all_targets, "idle")
    for number in range(arguments.rounds):
        for place, cell in enumerate(cells):
            print(f"round {number + 1} of {arguments.rounds}: {cell.title}", flush=True)
            # Each has every place in the order in turn, so that none always follows the heaviest.
            turn = (number + place) % len(all_targets)
            for target in all_targets[turn:] + all_targets[:turn]:
                before = measure.load()
                try:
                    sheet.add(cell, target, load.run(tool, target, upstream_pid, cell, arguments.seconds, folder), before)
                except program.Failed as failure:
                    faults.append(str(failure))
                    print(f"  {target.name:<17} FAILED: {failure}", flush=True)
    note_memory(sheet, all_targets, "after load")
    sheet.finish()
    return faults


def started(direct, release, installed, postgres, folder):
    """All that could be started, the upstream itself first."""
    found, faults = [direct], []
    binary, tool = os.path.join(release, "syndarix"), os.path.join(release, "examples", "gateway_load")
    starts = [lambda: targets.relay(tool, direct, folder)]
    starts += [
        lambda durability=durability: targets.syndarix(binary, direct.address, postgres, folder, durability)
        for durability in ("full", "relaxed")
    ]
    starts += [lambda home=installed[LITELLM]: targets.litellm(home, direct.address, folder)] if LITELLM in installed else []
    starts += (
        [lambda home=installed[TENSORZERO]: targets.tensorzero(home, direct.address, folder)] if TENSORZERO in installed else []
    )
    for start in starts:
        try:
            found.append(start())
        except program.Failed as failure:
            faults.append(str(failure))
            print(f"FAILED: {failure}", flush=True)
    return found, faults


def note_memory(sheet, all_targets, when):
    for target in all_targets:
        if target.pid:
            database = load.memory_mib(target.database_pid) if target.database_pid else None
            sheet.add_memory(target, when, load.memory_mib(target.pid), database)


def commit():
    ended = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True)
    return ended.stdout.strip()


if __name__ == "__main__":
    main()
