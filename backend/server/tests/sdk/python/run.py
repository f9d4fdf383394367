"""What the official Python SDKs do with the gateway, over a provider of each format.

Prints a line for every scenario, and a last one when all are done. Those of `scenarios.json` must be among them, and no others.
"""

# Each of these adds its scenarios.
import chat  # noqa: F401
import message  # noqa: F401
import response  # noqa: F401
import sdks  # noqa: F401
from common import MODELS, SCENARIOS

for model in MODELS:
    for name, scenario in SCENARIOS.items():
        try:
            scenario(model)
        except Exception:
            print(f"FAILED {name} over {model}", flush=True)
            raise
        print(f"{name} over {model}", flush=True)
print("all done")
