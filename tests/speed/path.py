"""A hot path that can be driven in turns, and what happens to be slow in it on purpose."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import msgspec
from msgspec import Struct

from protocol.codec import decode_event, encode

TIME = "2026-01-01T00:00:00.000Z"


class Delta(Struct, tag="message.delta", tag_field="type", frozen=True):
    """A token on its way, as it is encoded; of the tests, so that no path pays for making it."""

    time: str
    message: str
    part: int
    kind: str
    delta: str


def body(kind: str = "text", characters: int = 75) -> bytes:
    """The body of a delta as a worker would have encoded it."""
    return msgspec.json.encode(Delta(TIME, "m_0123456789abcdef", 0, kind, "x" * characters))


class Path(Struct, frozen=True):
    """A path, ready to be driven on the running loop."""

    turn: Callable[[], Awaitable[None]]
    """Drives a chunk of events: 1 to 2 ms of CPU."""
    events: int
    """What a turn drives."""
    breadth: int
    """Of the reference: so that other programs slow it as much as the path. Found by trying."""
    check: Callable[[], None]
    """Raises `AssertionError` unless what was driven has arrived: doing nothing is fast, too."""
    prepare: Callable[[], Awaitable[None]] | None = None
    """Before each turn, unmeasured."""


Stage: TypeAlias = Callable[[bytes], object]
"""Done for every event that a path takes in."""

Open: TypeAlias = Callable[[Stage], AbstractAsyncContextManager[Path]]


def nothing_more(_body: bytes) -> None:
    """The product as it is."""


def encoded_again(event: bytes) -> bytes:
    """What a regression would do that reads and writes each event at two more places."""
    return encode(decode_event(encode(decode_event(event))))
