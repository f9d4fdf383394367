"""What is measured: the peers, and the cells that every one of them goes through."""

import dataclasses

from driver.cells import Peer

LITELLM = Peer("LiteLLM", "1.106.12", "litellm", "pip")
TENSORZERO = Peer("TensorZero", "2026.6.0", "tensorzero", "pip")

# 64 KB of history, as an agent sends it: turns of about 1 KB each.
TURN = "The quick brown fox jumps over the lazy dog and reads its tail once more. " * 14
HISTORY_BYTES = 64 * 1024
# The upstream sends 22: the chunks, the usage, the end. TensorZero joins two of them; whoever sends fewer loses some.
STREAM_EVENTS = 20


@dataclasses.dataclass(frozen=True)
class Cell:
    title: str
    connections: int
    # The first part of the upstream's path, and the name of the model that leads there: plain, stream, slow.
    way: str = "plain"
    history: bool = False

    @property
    def events(self):
        return STREAM_EVENTS if self.way == "stream" else 0

    def body(self, model):
        """What a client of the OpenAI format sends."""
        messages = [{"role": "system", "content": "You answer in a sentence or two."}]
        if self.history:
            for number in range(HISTORY_BYTES // len(TURN)):
                messages.append({"role": ("user", "assistant")[number % 2], "content": TURN})
        messages.append({"role": "user", "content": "Where does the wind come from, and why does it not rest?"})
        body = {"model": model, "messages": messages, "max_tokens": 256, "temperature": 0.2}
        if self.way == "stream":
            body.update(stream=True, stream_options={"include_usage": True})
        return body


CELLS = [
    *(Cell(f"plain, {count} connection{'s' * (count > 1)}", count) for count in (1, 16, 64, 256)),
    *(Cell(f"20-chunk stream, {count} connection{'s' * (count > 1)}", count, way="stream") for count in (1, 16)),
    Cell("64 KB request, 16 connections", 16, history=True),
    Cell("upstream of 50 ms, 64 connections", 64, way="slow"),
]
