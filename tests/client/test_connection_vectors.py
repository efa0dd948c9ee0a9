"""The shared vectors: this machine and web/src/connection.js answer every input alike."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert

from gateway.client import steps
from gateway.client.connection import Connection
from gateway.client.subscription import Wishes
from protocol.codec import decode_up
from protocol.commands import App
from protocol.errors import ProtocolError

FILE = Path(__file__).parents[2] / "protocol" / "vectors" / "connection.json"
VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text())
MAX_BYTES = 16 * 1024 * 1024


def up(frame: dict[str, Any]) -> Any:
    """A frame up as a value, so that a default is the same as its absence."""
    (decoded,) = decode_up(json.dumps(frame), MAX_BYTES)
    assert not isinstance(decoded, ProtocolError), (frame, decoded.details)
    return decoded


def taken(given: dict[str, Any]) -> steps.Input:
    """An input of the vectors as ours."""
    match given:
        case {"type": "text", "socket": socket, "frames": frames}:
            return steps.Text(socket, "\n".join(map(json.dumps, frames)).encode())
        case {"type": "text", "socket": socket, "text": text}:
            return steps.Text(socket, text.encode())
        case {"type": "closed", "socket": socket, "code": code}:
            return steps.Closed(socket, code)
        case {"type": "opened", "socket": socket}:
            return steps.Opened(socket, given.get("token"))
        case {"type": "online", "online": online}:
            return steps.Online(online)
        case {"type": "command", "frame": frame}:
            return steps.Issue(up(frame))
        case {"type": "subscribe", "session": session, "options": options}:
            wishes = convert(options, Wishes)
            return steps.Subscribe(session, wishes, given.get("after"))
        case {"type": "unsubscribe", "session": session}:
            return steps.Unsubscribe(session)
        case {"type": kind}:
            plain = {"start": steps.Start, "stop": steps.Stop, "tick": steps.Tick}
            return {**plain, "hint": steps.Hint}[kind]()
        case _:
            raise AssertionError(given)


def told(effect: steps.Effect) -> dict[str, Any]:
    """An effect of ours in the short form of the vectors; frames up as values."""
    match effect:
        case steps.Connect(socket):
            return {"type": "connect", "socket": socket}
        case steps.Send(socket, text):
            frames = [up(json.loads(line)) for line in text.split(b"\n")]
            return {"type": "send", "socket": socket, "frames": frames}
        case steps.Close(socket):
            return {"type": "close", "socket": socket}
        case steps.Refresh():
            return {"type": "refresh"}
        case steps.Welcomed():
            return {"type": "welcome"}
        case steps.StatusChanged(status, retry_at, code, _):
            return {"type": "status", "status": status, "retry_at": retry_at, "code": code}
        case steps.Answered(command, frame):
            outcome = json.loads(frame)
            said = "ok" if outcome["type"] == "ok" else outcome["code"]
            assert outcome["id"] == command
            return {"type": "answer", "id": command, "outcome": said}
        case steps.Received(session, seq, _):
            return {"type": "event", "session": session, "seq": seq}
        case steps.Reset(session, epoch, seq, _, _):
            return {"type": "reset", "session": session, "epoch": epoch, "seq": seq}
        case steps.Recovered(session):
            return {"type": "recovered", "session": session}
        case steps.Refused(session, frame):
            return {"type": "refused", "session": session, "code": json.loads(frame)["code"]}
        case steps.Problem(frame):
            return {"type": "problem", "code": json.loads(frame)["code"]}


def expected(effect: dict[str, Any]) -> dict[str, Any]:
    if effect["type"] != "send":
        return effect
    return {**effect, "frames": [up(frame) for frame in effect["frames"]]}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    ids = itertools.count(1)
    options = vector["options"]
    machine = Connection(
        options["client"],
        app=App(**options["app"]) if "app" in options else None,
        renewable=options.get("renewable", False),
        random=lambda: vector["random"],
        make_id=lambda prefix: f"{prefix}_{next(ids)}",
    )
    for number, step in enumerate(vector["steps"]):
        effects = machine.step(taken(step["input"]), step["at"])
        deadline = None if math.isinf(machine.deadline) else machine.deadline
        did = ([told(effect) for effect in effects], deadline, machine.status)
        wanted = ([expected(e) for e in step["effects"]], step["deadline"], step["status"])
        assert did == wanted, f"step {number}: {step['input']}"
