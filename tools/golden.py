#!/usr/bin/env python
"""Writes anew what is made from the protocol's code: tools/golden.py [--check].

That is protocol/schema.json, and the expectations in protocol/vectors/*.json: their inputs
(frames, states, events) are edited by hand, what the protocol makes of them is filled in here.
Read the diff: clients in other languages are held to it.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from protocol import codec
from protocol.detail import View
from protocol.errors import ProtocolError
from protocol.schema import schema
from protocol.state import State, fold

PROTOCOL = Path(__file__).parents[1] / "protocol"
Vector = dict[str, Any]


def frame(vector: Vector) -> Vector:
    """Of a frame: whether it is valid; of a bad one up the code and path of its error."""
    inputs = {k: vector[k] for k in ("name", "direction", "frame")}
    line = json.dumps(vector["frame"])
    try:
        if vector["direction"] == "up":
            (decoded,) = codec.decode_up(line, 1 << 20)
            if isinstance(decoded, ProtocolError):
                raise decoded
        elif vector["direction"] == "down":
            codec.decode_down(line)
        else:
            codec.decode_event(line)
    except ProtocolError as error:
        path = (error.details or {}).get("path")
        where = {"path": path} if vector["direction"] == "up" else {}
        return {**inputs, "valid": False, "code": error.code, **where}
    return {**inputs, "valid": True}


def folded(vector: Vector) -> Vector:
    """Of a fold: the state after the events."""
    start = vector["state"]
    events: list[Vector] = vector["events"]
    state = State(session=events[0]["session"]) if start is None else msgspec.convert(start, State)
    for event in events:
        decoded = codec.decode_event(json.dumps(event))
        if decoded is None:  # unknown: only the cursor moves
            state.seq = event["seq"]
        else:
            fold(state, [(event["seq"], decoded)])
    inputs = {k: vector[k] for k in ("name", "state", "events")}
    return {**inputs, "expect": msgspec.to_builtins(state)}


def detail(vector: Vector) -> Vector:
    """Of an event or a state: what of it leaves the server, at a detail, with declared tools."""
    view = View(vector["detail"], vector["tools"])
    if "state" in vector:
        names = ("name", "detail", "tools", "state")
        seen: Any = view.state(msgspec.convert(vector["state"], State))
    else:
        names = ("name", "detail", "tools", "calls", "event")
        event = codec.decode_event(json.dumps(vector["event"]))
        assert event is not None, vector["name"]
        calls: dict[str, tuple[str, str]] = vector["calls"]
        seen = view.event(event, calls.get)
    leaves = None if seen is None else msgspec.to_builtins(seen)
    if leaves is not None and "event" in vector:
        leaves |= {k: vector["event"][k] for k in ("session", "seq")}
    return {**{k: vector[k] for k in names}, "leaves": leaves}


VECTORS: dict[str, Callable[[Vector], Vector]] = {
    "vectors/frames.json": frame,
    "vectors/folds.json": folded,
    "vectors/details.json": detail,
}
FILES = ("schema.json", *VECTORS)


def text(vectors: list[Vector]) -> str:
    """The file: a field a line, an event a line, so that a diff says what changed."""
    return "[\n" + ",\n".join("  {\n" + _fields(v) + "\n  }" for v in vectors) + "\n]\n"


def _fields(vector: Vector) -> str:
    return ",\n".join(f"    {_compact(k)}: {_value(k, v)}" for k, v in vector.items())


def _value(key: str, value: Any) -> str:
    if key != "events":
        return _compact(value)
    return "[\n" + ",\n".join(f"      {_compact(v)}" for v in value) + "\n    ]"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def anew(name: str) -> str:
    """The text that the file of that name should have."""
    if name == "schema.json":
        return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    return text([VECTORS[name](v) for v in json.loads(read(name))])


def read(name: str) -> str:
    """The text that the file has; empty if there is none."""
    path = PROTOCOL / name
    return path.read_text() if path.exists() else ""


def main(arguments: list[str]) -> int:
    stale = [name for name in FILES if anew(name) != read(name)]
    check = arguments == ["--check"]
    for name in stale:
        print(f"{'stale' if check else 'written'}: protocol/{name}")
        if not check:
            (PROTOCOL / name).write_text(anew(name))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
