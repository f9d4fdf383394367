"""Our figures, the printed table with its ratios, and the JSON lines."""

import json
import os

from .cells import UNITS
from .measure import percentile
from .ours import FIGURES, TAKEOVER_KEY
from .takeover import LIMIT

OUT = "peers.jsonl"


class Sheet:
    """Collects what was measured, prints it as it comes, and compares at the end."""

    def __init__(self, folder, ours):
        self.ours, self.rows, self.takeovers = ours, [], []
        self.path = os.path.join(folder, OUT)
        self.file = open(self.path, "w", encoding="utf-8")

    def add(self, cell, measured, load):
        rate = measured.count / measured.seconds
        per_cpu = measured.count / measured.cpu if measured.cpu else None
        settings = {**self.settings(cell, load), "cpu_seconds": round(measured.cpu, 2) if measured.cpu else None}
        if measured.steps:
            settings["step_p50_ms"], settings["step_p99_ms"] = (percentile(measured.steps, at) for at in (0.5, 0.99))
            settings["workflow_p50_ms"] = percentile(measured.workflows, 0.5)
            settings["workflow_p99_ms"] = percentile(measured.workflows, 0.99)
        self.write(cell, round(rate, 1), UNITS[cell.work], round(per_cpu, 1) if per_cpu else None, settings)
        self.rows.append((cell, rate, per_cpu))

    def add_takeover(self, cell, seconds, load):
        self.takeovers.append((cell, seconds))
        if seconds is None:
            print(f"{cell.title:<76} not within {LIMIT} s", flush=True)
            line = {"name": cell.title, "value": None, "unit": "s", "settings": self.settings(cell, load)}
            self.file.write(json.dumps(line) + "\n")
        else:
            self.write(cell, round(seconds, 2), "s", None, self.settings(cell, load))

    def failed(self, cell, failure):
        print(f"{cell.title:<76} FAILED: {str(failure).splitlines()[0]}", flush=True)

    def settings(self, cell, load):
        durable = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
        server = {"server": cell.server} if cell.server else {"server": "postgresql", **durable}
        more = {"in_flight": cell.in_flight} if cell.in_flight else {}
        return {"peer": cell.peer.name, "version": cell.peer.version, "processes": cell.processes, **more, **server,
                "load_before": load}

    def write(self, cell, value, unit, per_cpu, settings):
        line = {"name": cell.title, "value": value, "unit": unit, "settings": settings}
        if per_cpu is not None:
            line["per_cpu_second"] = per_cpu
        self.file.write(json.dumps(line) + "\n")
        times = f"  step p50 {settings['step_p50_ms']} ms, p99 {settings['step_p99_ms']} ms" if "step_p50_ms" in settings else ""
        cpu = f"  ({per_cpu:,.0f} per CPU second)" if per_cpu is not None else ""
        print(f"{cell.title:<76} {value:>10,.1f} {unit}{cpu}{times}", flush=True)

    def finish(self):
        print("\nSyndarix against them, the best of them first; in brackets per CPU second (a busy machine distorts both)")
        for key in FIGURES:
            self.compare(key)
        self.compare_takeovers()
        self.file.close()
        print(f"written to {self.path}")

    def compare_takeovers(self):
        """How many times longer theirs takes; of those that never took over, at least how many."""
        own = self.ours.get(TAKEOVER_KEY)
        if not own or not self.takeovers:
            return
        print(f"  {own.name}: {own.value:.2f} s")
        for cell, seconds in sorted(self.takeovers, key=lambda row: row[1] or LIMIT):
            times = (seconds or LIMIT) / own.value
            print(f"    {'' if seconds else '> '}{times:.1f} x  {cell.title.split(': ', 1)[1]}")
            ratio = {"name": f"ratio, {cell.title}", "value": round(times, 2), "unit": "times"}
            settings = {"peer": cell.peer.name, "at_least": seconds is None}
            self.file.write(json.dumps({**ratio, "settings": settings}) + "\n")

    def compare(self, key):
        rows = [row for row in self.rows if (row[0].work, row[0].in_flight) == key]
        own = self.ours.get(key)
        if not rows:
            return
        if not own:
            print(f"  {rows[0][0].title.split(':')[0]}: no figure of ours called {FIGURES[key][1]}")
            return
        own_cpu = own.per_cpu_second
        print(f"  {own.name}: {own.value:,.0f} {own.unit}" + (f" ({own_cpu:,.0f})" if own_cpu else "") + spread(own))
        mean = {"name": f"Syndarix, {own.name}", "value": round(own.value, 1), "unit": own.unit}
        self.file.write(json.dumps({**mean, "settings": {"taken": own.values, "taken_per_cpu_second": own.per_cpu}}) + "\n")
        for cell, rate, per_cpu in sorted(rows, key=lambda row: -row[1]):
            self.ratio(cell, own.value / rate, own_cpu / per_cpu if own_cpu and per_cpu else None)

    def ratio(self, cell, wall, cpu):
        name = cell.title.split(": ", 1)[1]
        print(f"    {wall:>7.1f} x" + (f" ({cpu:.1f} x)" if cpu else "") + f"  {name}")
        line = {"name": f"ratio, {cell.title}", "value": round(wall, 2), "unit": "times"}
        if cpu:
            line["per_cpu_second"] = round(cpu, 2)
        self.file.write(json.dumps({**line, "settings": {"peer": cell.peer.name}}) + "\n")


def spread(own):
    """What the mean is of."""
    if len(own.values) < 2:
        return ""
    return ", the mean of " + " and ".join(f"{value:,.0f}" for value in own.values)
