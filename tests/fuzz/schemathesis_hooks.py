"""What schemathesis must know of our API that OpenAPI cannot say."""

import re
from typing import Any

import schemathesis

BITS = 64
NAME = re.compile(r"[A-Za-z0-9_.:/@-]{1,128}")


def sayable(value: Any) -> Any:
    """With what only prose says (docs/protocol.md): integers, and where a file may be."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # to JSON Schema `1.0` is an integer as well
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 2 ** (BITS - 1) else 0
    if isinstance(value, dict):
        value = {key: sayable(item) for key, item in value.items()}
        if value.get("kind") == "file" and isinstance(value.get("url"), str):
            value["url"] = f"https://{value['url']}"
        return value
    return [sayable(item) for item in value] if isinstance(value, list) else value


def offered(body: Any) -> Any:
    """Of three names of agents two are of one that there is: else no session would be made."""
    agent = body.get("agent") if isinstance(body, dict) else None
    if isinstance(agent, str) and NAME.fullmatch(agent) and len(agent) % 3:
        body["agent"] = ("echo", "scripted")[len(agent) % 2]
    return body


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    return offered(sayable(body))
