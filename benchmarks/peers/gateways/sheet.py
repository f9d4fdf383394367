"""Collects the rounds, and says their medians: as a table, and as JSON lines."""

import dataclasses
import json
import statistics

from .load import Measured

FIELDS = [field.name for field in dataclasses.fields(Measured)]


class Sheet:
    def __init__(self, path, targets, cells, settings):
        self.path, self.targets, self.cells, self.settings = path, targets, cells, settings
        # (cell, name of the target): one Measured for each round that succeeded; and the load before them.
        self.rounds, self.loads, self.memory = {}, {}, {}

    def add(self, cell, target, measured, load):
        self.rounds.setdefault((cell, target.name), []).append(measured)
        self.loads.setdefault((cell, target.name), []).append(load)
        print(f"  {target.name:<17} {measured.rate:>9,.0f}/s  p50 {measured.p50:.2f} ms  p99 {measured.p99:.2f} ms", flush=True)

    def add_memory(self, target, when, mib, database_mib):
        self.memory[(target.name, when)] = (mib, database_mib)

    def finish(self):
        with open(self.path, "w", encoding="utf-8") as file:
            for cell in self.cells:
                print(f"\n{cell.title}", flush=True)
                for target in self.targets:
                    if (cell, target.name) in self.rounds:
                        self.write_cell(file, cell, target)
            print("\nmemory (PSS)")
            for target in self.targets:
                self.write_memory(file, target)
        print(f"written to {self.path}")

    def write_cell(self, file, cell, target):
        row = self.medians(cell, target)
        gateway_cpu, with_database = row["gateway_cpu"], None
        if row["database_cpu"] is not None:
            with_database = gateway_cpu + row["database_cpu"]
        settings = {
            **self.settings, **target.settings, "version": target.version, "connections": cell.connections,
            "rounds": len(self.rounds[(cell, target.name)]), "load_before": self.loads[(cell, target.name)],
            "rates": [round(each.rate, 1) for each in self.rounds[(cell, target.name)]],
            "upstream_cpu_ms": round(row["upstream_cpu"], 4), "load_tool_cpu_ms": round(row["load_cpu"], 4),
        }

        def line(what, value, unit, **more):
            if value is not None:
                name = f"gateway, {cell.title}: {target.name}, {what}"
                file.write(json.dumps({"name": name, "value": round(value, 4), "unit": unit, **more, "settings": settings}) + "\n")

        all_cpu = with_database or gateway_cpu
        line("requests", row["rate"], "per second", **({"per_cpu_second": round(1000 / all_cpu, 1)} if all_cpu else {}))
        added = self.added(cell, target)
        for name in ("p50", "p99", *(("first_p50", "first_p99") if cell.events else ())):
            line(name.replace("first_", "first byte, "), row[name], "ms")
            line(name.replace("first_", "first byte, ") + ", added", added.get(name), "ms")
        line("CPU", gateway_cpu, "ms/request")
        line("CPU, PostgreSQL included", with_database, "ms/request")
        print(table_row(target.name, row, added, gateway_cpu, with_database, bool(cell.events)), flush=True)

    def medians(self, cell, target):
        rounds = self.rounds[(cell, target.name)]
        values = {name: [getattr(each, name) for each in rounds] for name in FIELDS}
        return {name: None if None in all_of else statistics.median(all_of) for name, all_of in values.items()}

    def added(self, cell, target):
        """Over direct in the same cell of the same run: the difference of the medians."""
        if target.name == self.targets[0].name or (cell, self.targets[0].name) not in self.rounds:
            return {}
        row, direct = self.medians(cell, target), self.medians(cell, self.targets[0])
        return {name: row[name] - direct[name] for name in ("p50", "p99", "first_p50", "first_p99")}

    def write_memory(self, file, target):
        for when in ("idle", "after load"):
            mib, database = self.memory.get((target.name, when), (None, None))
            if mib is None:
                continue
            name, settings = f"gateway, memory, {when}: {target.name}", {**target.settings, "version": target.version}
            file.write(json.dumps({"name": name, "value": round(mib, 1), "unit": "MiB PSS", "settings": settings}) + "\n")
            beside = ""
            if database is not None:
                line = {"name": f"{name}, PostgreSQL alone", "value": round(database, 1), "unit": "MiB PSS", "settings": settings}
                file.write(json.dumps(line) + "\n")
                beside = f"  (PostgreSQL {database:.0f} MiB)"
            print(f"  {target.name:<17} {when:<10} {mib:>8.0f} MiB{beside}")


def table_row(name, row, added, gateway_cpu, with_database, streamed):
    text = f"  {name:<17} {row['rate']:>9,.0f}/s  p50 {row['p50']:>8.2f}  p99 {row['p99']:>8.2f} ms"
    if added:
        text += f"  added {added['p50']:>8.2f} / {added['p99']:>8.2f} ms"
    if streamed:
        text += f"  first byte {row['first_p50']:.2f} / {row['first_p99']:.2f} ms"
    if gateway_cpu is not None:
        text += f"  CPU {gateway_cpu:.3f} ms/request"
    if with_database is not None:
        text += f", {with_database:.3f} with PostgreSQL"
    return text
