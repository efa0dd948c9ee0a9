"""What schemathesis must know of our API that OpenAPI cannot say."""

from typing import Any

import schemathesis

BITS = 64


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


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    return sayable(body)
