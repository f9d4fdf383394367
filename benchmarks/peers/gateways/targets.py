"""Starts the gateways and the upstream, each as its own documentation says that it is run in production."""

import dataclasses
import json
import os
import sys
import urllib.error
import urllib.request

from driver import servers
from driver.install import PROGRAMS
from driver.program import READY_LIMIT, Failed, Program

from .cells import LITELLM, TENSORZERO

WAYS = ("plain", "stream", "slow")
# Nothing that this benchmark spends comes near it.
HARD_LIMIT_MICRO_USD = 1_000_000_000_000
MASTER_KEY = "sk-bench-master"


@dataclasses.dataclass
class Target:
    name: str
    version: str
    # host:port, the path of chat completions, the key, the model's name for a way.
    address: str
    path: callable
    key: str
    model: callable
    # The gateway's processes: this one and its children.
    pid: int | None
    # PostgreSQL's, where the gateway uses one.
    database_pid: int | None = None
    settings: dict = dataclasses.field(default_factory=dict)


def upstream(tool, folder):
    """The upstream, and itself as the target that all others are compared with."""
    program = Program([tool, "upstream"], {}, folder, "upstream")
    port = program.line(READY_LIMIT, "its port")["port"]
    address = f"127.0.0.1:{port}"
    direct = Target(
        "direct", "", address, path=lambda way: f"/{way}/v1/chat/completions", key="none", model=lambda way: "mock",
        pid=None, settings={"gateway": "none"},
    )
    return direct, program.process.pid


def relay(tool, direct, folder):
    """axum and reqwest with nothing in between: what these libraries cost by themselves."""
    program = Program([tool, "relay", f"http://{direct.address}"], {}, folder, "relay")
    port = program.line(READY_LIMIT, "its port")["port"]
    return dataclasses.replace(
        direct, name="axum + reqwest", version="release build", address=f"127.0.0.1:{port}", pid=program.process.pid,
        settings={"auth": "none", "budget": "none", "usage_rows": False},
    )


def syndarix(binary, upstream_address, postgres, folder, durability="full"):
    """The release binary with a virtual key, a hard budget and usage rows, on a PostgreSQL that waits for its disk."""
    name = "Syndarix" if durability == "full" else f"Syndarix, {durability}"
    home = os.path.join(folder, f"syndarix-{durability}")
    os.makedirs(home)
    models = os.path.join(home, "models.toml")
    with open(models, "w", encoding="utf-8") as file:
        for way in WAYS:
            file.write(f"""
[[group]]
name = "{way}"
[[group.chain]]
name = "mock-{way}"
provider = "openai_compatible"
base_url = "http://{upstream_address}/{way}/v1"
model = "mock"
endpoint_access = "private_network"
context_window = 128000
max_output = 4096
prices = {{ input = 150000, output = 600000, cache_read = 0, cache_write = 0 }}
""")
    address = f"127.0.0.1:{servers.free_port()}"
    environment = {
        "DATABASE_URL": postgres.database(), "SYNDARIX_MODELS": models, "SYNDARIX_USAGE_DURABILITY": durability,
    }
    command = [binary, "--data-dir", home, "serve", "--listen", address]
    program = Program(command, environment, folder, f"syndarix-{durability}")
    servers.until(lambda: servers.answers(f"http://{address}/readyz"), program)
    return Target(
        name, "release build", address, path=lambda way: "/v1/chat/completions",
        key=virtual_key(f"http://{address}/api/v1"), model=lambda way: way,
        pid=program.process.pid, database_pid=postgres.server.pid,
        settings={"auth": "virtual key", "budget": "project, hard limit", "usage_rows": True,
                  "usage_durability": durability, "fsync": "on", "synchronous_commit": "on"},
    )


def virtual_key(api):
    """A new project with a hard limit, and a key of it."""
    person = {"email": "bench@example.org", "name": "Bench", "password": "a long enough passphrase"}
    token = call("POST", f"{api}/auth/register", person)["access_token"]
    organisation = call("GET", f"{api}/me", token=token)["organisations"][0]["id"]
    project = {"organisation_id": organisation, "name": "bench", "repository": {"source": "empty"}}
    project = f"{api}/projects/{call('POST', f'{api}/projects', project, token)['id']}"
    call("PUT", f"{project}/budget", {"hard_limit_micro_usd": HARD_LIMIT_MICRO_USD}, token)
    return call("POST", f"{project}/gateway-keys", {"name": "bench"}, token)["secret"]


def litellm(home, upstream_address, folder):
    """docs.litellm.ai, "Best Practices for Production", with one worker and the master key.

    Virtual keys, budgets and spend logs need a database through Prisma, whose engine is on no registry.
    """
    config = os.path.join(folder, "litellm.yaml")
    model = {way: {"model": "openai/mock", "api_base": f"http://{upstream_address}/{way}/v1", "api_key": "none"}
             for way in WAYS}
    with open(config, "w", encoding="utf-8") as file:
        # YAML takes JSON.
        json.dump({
            "model_list": [{"model_name": way, "litellm_params": model[way]} for way in WAYS],
            "general_settings": {"master_key": MASTER_KEY},
            "litellm_settings": {"request_timeout": 600, "set_verbose": False, "json_logs": True},
        }, file)
    port = servers.free_port()
    environment = {
        "PYTHONPATH": home, "PYTHONDONTWRITEBYTECODE": "1", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION",
        # Its table of prices as it was shipped, instead of one from the network at every start.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [sys.executable, os.path.join(home, "bin", "litellm"), "--config", config, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    program = Program(command, environment, folder, "litellm")
    servers.until(lambda: servers.answers(f"http://127.0.0.1:{port}/health/liveliness"), program)
    return Target(
        LITELLM.name, LITELLM.version, f"127.0.0.1:{port}", path=lambda way: "/v1/chat/completions", key=MASTER_KEY,
        model=lambda way: way, pid=program.process.pid,
        settings={"auth": "master key", "budget": "none", "usage_rows": False, "workers": 1},
    )


def tensorzero(home, upstream_address, folder):
    config = os.path.join(folder, "tensorzero.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write("[gateway]\nobservability.enabled = false\n")
        for way in WAYS:
            file.write(f"""
[models.{way}]
routing = ["mock"]
[models.{way}.providers.mock]
type = "openai"
model_name = "mock"
api_base = "http://{upstream_address}/{way}/v1/"
api_key_location = "none"
""")
    command = [sys.executable, os.path.join(PROGRAMS, TENSORZERO.folder, "peer.py"), config]
    program = Program(command, {"PYTHONPATH": home, "PYTHONDONTWRITEBYTECODE": "1"}, folder, "tensorzero")
    address, _, rest = program.line(READY_LIMIT, "its address")["url"].removeprefix("http://").partition("/")
    return Target(
        TENSORZERO.name, TENSORZERO.version, address, path=lambda way: f"/{rest}/chat/completions", key="none",
        model=lambda way: f"tensorzero::model_name::{way}", pid=program.process.pid,
        settings={"auth": "none", "budget": "none", "usage_rows": False, "observability": "off"},
    )


def call(method, url, body=None, token=None):
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
    data = json.dumps(body).encode() if body is not None else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Failed(f"{method} {url}: {error.code}: {error.read().decode(errors='replace')[:600]}") from None
