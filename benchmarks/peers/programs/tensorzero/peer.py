"""TensorZero's gateway: the one in its Python package, which is the same Rust code as in its image.

    peer.py CONFIG

The registries have no other build of it. Its HTTP server runs in this process, on a port of its own choice, without
observability and without authentication: both need a database of TensorZero's own.
"""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "common"))

from talk import say  # noqa: E402
from tensorzero import tensorzero  # noqa: E402

gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
say(url=gateway.base_url)
signal.pause()
