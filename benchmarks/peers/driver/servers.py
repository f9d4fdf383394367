"""The servers that peers need: one PostgreSQL for all of them, and Redis or Restate where a cell asks for it."""

import importlib.machinery
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

from .program import Failed, Program

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
START_LIMIT = 60
# What Syndarix runs its own with (backend/postgres/src/settings.rs): durable, and the same for everybody.
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "400",
    "shared_buffers": "256MB",
    "checkpoint_timeout": "15min",
    "max_wal_size": "2GB",
    "min_wal_size": "128MB",
    "wal_compression": "pglz",
    "autovacuum_naptime": "10s",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "jit": "off",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",
    "listen_addresses": "127.0.0.1",
}


class Postgres:
    """A server of its own, from the binaries that Syndarix brings along; it is started as for tests, but durable."""

    def __init__(self):
        tool = with_postgres()
        tool.SETTINGS = SETTINGS
        self.tool, self.binaries, self.made = tool, tool.find_binaries(), 0
        self.folder = tempfile.mkdtemp(prefix="syndarix-peers-pg-")
        self.server, url = tool.start(self.binaries, self.folder, tool.unprivileged())
        self.port = url.rsplit(":", 1)[1].split("/")[0]
        self.wear_in()

    def wear_in(self):
        """The log of a new server is made while it is written, file by file; ours is measured on a worn one, too."""
        written = "select pg_logical_emit_message(false, 'bench', repeat('x', 8 * 1024 * 1024)) from generate_series(1, 128)"
        where = ["-h", self.folder, "-p", self.port, "-U", "postgres", "-d", "postgres"]
        done = subprocess.run(
            [os.path.join(self.binaries, "psql"), *where, "-qtAX", "-o", os.devnull, "-c", written, "-c", "checkpoint"],
            capture_output=True, text=True,
        )
        if done.returncode:
            raise Failed(f"psql: {done.stderr}")

    def database(self):
        """A new database. Its address names the Unix socket, which is how Syndarix reaches its own."""
        self.made += 1
        name = f"peer{self.made}"
        where = ["-h", self.folder, "-p", self.port, "-U", "postgres"]
        made = subprocess.run([os.path.join(self.binaries, "createdb"), *where, name], capture_output=True, text=True)
        if made.returncode:
            raise Failed(f"createdb: {made.stderr}")
        return f"postgresql://postgres@localhost/{name}?host={self.folder}&port={self.port}"

    def stop(self):
        self.tool.stop(self.server)
        shutil.rmtree(self.folder, ignore_errors=True)


def with_postgres():
    """The script `.ci/with-postgres` as a module."""
    path = os.path.join(REPOSITORY, ".ci", "with-postgres")
    loader = importlib.machinery.SourceFileLoader("with_postgres", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def redis(folder, sync):
    """Redis with an append-only file that is synced `always` or `everysec`. Returns it with its environment."""
    if not shutil.which("redis-server"):
        raise Failed("redis-server is missing: .ci/setup peers installs it")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--appendonly", "yes"]
    options += ["--appendfsync", sync, "--save", ""]
    server = Program(["redis-server", *options], {}, folder, "redis-server")
    until(lambda: listens(port), server)
    return server, {"PEER_REDIS_URL": f"redis://127.0.0.1:{port}/0"}


def restate(folder, home):
    """The Restate server from the npm package in `home`. Returns it with its environment."""
    ports = {name: free_port() for name in ("ingress", "admin", "node", "service")}
    environment = {
        "RESTATE_BASE_DIR": os.path.join(folder, "restate-data"),
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_BIND_PORT": str(ports["node"]),
        "RESTATE_INGRESS__BIND_PORT": str(ports["ingress"]),
        "RESTATE_ADMIN__BIND_PORT": str(ports["admin"]),
        # Its default of 24 is for larger machines.
        "RESTATE_DEFAULT_NUM_PARTITIONS": "4",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "error",
        "DO_NOT_TRACK": "1",
    }
    server = Program([os.path.join(home, "node_modules", ".bin", "restate-server")], environment, folder, "restate-server")
    until(lambda: answers(f"http://127.0.0.1:{ports['admin']}/health"), server)
    until(lambda: answers(f"http://127.0.0.1:{ports['ingress']}/restate/health"), server)
    return server, {
        "PEER_RESTATE_INGRESS": f"http://127.0.0.1:{ports['ingress']}",
        "PEER_RESTATE_ADMIN": f"http://127.0.0.1:{ports['admin']}",
        "PEER_SERVICE_PORT": str(ports["service"]),
    }


def until(condition, server):
    deadline = time.monotonic() + START_LIMIT
    while not condition():
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{server.name} did not start{server.last_words()}")
        time.sleep(0.05)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
