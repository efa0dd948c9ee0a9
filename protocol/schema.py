"""The JSON Schema of the protocol, made from the structs: `agent-gateway schema` prints it.

`protocol/schema.json` is a copy, for who generates types; a test keeps it fresh. Nothing is
validated with it here: the structs are the validation.
"""

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from protocol.commands import AnyUp
from protocol.events import AnyEvent
from protocol.frames import AnyDown
from protocol.values import Id, Seq

Schema = dict[str, Any]

_UNIONS = {"Up": AnyUp, "Down": AnyDown, "Event": AnyEvent}
_PRIVATE = "provider"


def schema() -> Schema:
    """Every frame: `$defs` has `Up`, `Down`, `Event` and one entry per frame and value."""
    (*unions, identifier, seq), defs = components([*_UNIONS.values(), Id, Seq], "#/$defs/{name}")
    # events are stored without their place; every one on the wire has it
    place = {"session": identifier, "seq": seq}
    for struct in AnyEvent.__args__:
        event = defs[struct.__name__]
        event["properties"] = {**place, "from_seq": seq, **event["properties"]}
        event["required"] = [*place, *event["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Agent Gateway, native protocol, version 1",
        "description": "One frame; a WebSocket message holds one or more, one a line.",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in _UNIONS],
        "$defs": {**dict(zip(_UNIONS, unions, strict=True)), **dict(sorted(defs.items()))},
    }


def components(types: Sequence[Any], refs: str) -> tuple[list[Schema], dict[str, Schema]]:
    """The schemas of some types, and of what they refer to by `refs`, as they are on the wire."""
    schemas, defs = msgspec.json.schema_components(types, ref_template=refs)
    if "State" in defs:  # it is sent whole; anything else leaves out what has its default
        defs["State"]["required"] = list(defs["State"]["properties"])
    return _portable(list(schemas)), _portable(defs)


def _portable(node: Any) -> Any:
    """Without what never leaves the server, and with patterns that JavaScript knows too."""
    if isinstance(node, list):
        return [_portable(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    seen: Schema = {}
    for key, value in cast("Schema", node).items():
        if key == "pattern" and isinstance(value, str):
            seen[key] = value.replace(r"\Z", "$")
        elif key == "properties":
            seen[key] = {k: _portable(v) for k, v in value.items() if k != _PRIVATE}
        else:
            seen[key] = _portable(value)
    return seen
