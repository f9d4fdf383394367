"""CPU seconds of everything that this run started, load, percentiles."""

import os

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds():
    """CPU seconds used so far by all descendants of this process, those that have ended included.

    None where there is no /proc.
    """
    if not os.path.isdir("/proc/self"):
        return None
    processes, own = all_processes(), os.getpid()
    ended = os.times()
    return ended.children_user + ended.children_system + sum(
        ticks for pid, (_, ticks) in processes.items() if descends(pid, own, processes)
    ) / TICKS


def all_processes():
    """(its parent, its CPU ticks) of every process by its pid."""
    return dict(filter(None, (stat(entry) for entry in os.listdir("/proc") if entry.isdigit())))


def stat(pid):
    """(pid, (its parent, its CPU ticks and those of its ended children)), or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(") ")[2].split()
    except OSError:
        return None
    return int(pid), (int(fields[1]), sum(map(int, fields[11:15])))


def descends(pid, ancestor, processes):
    if pid == ancestor:
        return False
    while pid in processes:
        pid = processes[pid][0]
        if pid == ancestor:
            return True
    return False


def descendants():
    """Pids of everything that this process started and that still runs."""
    if not os.path.isdir("/proc/self"):
        return []
    processes, own = all_processes(), os.getpid()
    return [pid for pid in processes if descends(pid, own, processes)]


def machine():
    """What this runs on, in a line."""
    model = ""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "")
    return f"machine: {os.cpu_count()} cores {model}, {os.uname().sysname} {os.uname().release}, load {load()}"


def load():
    """Processes that were ready to run, over the last minute."""
    return round(os.getloadavg()[0], 1)


def percentile(samples, share):
    ordered = sorted(samples)
    return round(ordered[round((len(ordered) - 1) * share)], 2) if ordered else None
