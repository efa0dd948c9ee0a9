"""Gateways that a real one would have to be provoked into: tests say what they answer."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from protocol import SUBPROTOCOL

WELCOME = {
    "type": "welcome",
    "connection": "x_1",
    "client": "py_1",
    "principal": {"tenant": "local", "subject": "dev"},
    "heartbeat_ms": 25_000,
    "limits": {"max_frame_bytes": 1 << 20, "max_subscriptions": 64},
    "features": [],
    "server": {"name": "odd", "version": "0"},
}
Talk = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]


async def say(peer: ServerConnection, *frames: dict[str, Any]) -> None:
    """Send frames, in one message."""
    await peer.send("\n".join(map(json.dumps, frames)))


def subscribed(frame: dict[str, Any], **state: Any) -> dict[str, Any]:
    """The answer to a `session.subscribe`: a whole state."""
    place = {"session": frame["session"], "epoch": "e_1", "seq": 1}
    told = {"type": "subscribed", "id": frame["id"], "recovered": False, "detail": "full"}
    return {**told, **place, "state": {**place, "agent": "echo", **state}}


@asynccontextmanager
async def odd(talk: Talk) -> AsyncGenerator[str]:
    """A gateway that hands every frame to `talk`."""

    async def converse(peer: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in peer:
                for line in str(message).split("\n"):
                    await talk(peer, json.loads(line))

    async with serve(converse, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as started:  # type: ignore[list-item] - a NewType of str
        port = next(iter(started.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}"
