"""What the `scripted` agent is asked to do where our own is not there: at a gateway of others.

It takes no credits, so every load is an open loop of its own pace; it writes no stamps, so
latencies are those of the events' `time`.
"""

from typing import Any

from loadtest.native import TOOL
from loadtest.scenarios import Load

RATE = 20.0
"""Tokens a second of a session, if the load names no rate."""
CHUNK, MESSAGE_TOKENS, FOR_EVER = 5, 100, 1_000_000


def script(load: Load) -> list[dict[str, Any]]:
    """Steps that go on until the run is interrupted."""
    if load.verb == "call":
        step: dict[str, Any] = {"call_tool": {"name": TOOL["name"], "arguments": {"n": 1}}}
    else:
        interval_ms = max(1, round(1_000 / (load.rate or RATE)))
        text = "token" * MESSAGE_TOKENS
        step = {"say": text, "chunk": CHUNK, "interval_ms": interval_ms}
    return [{"repeat": FOR_EVER, "steps": [step]}]
