"""How large what clients put into a session may become; pure.

An agent's own events are not measured here: a run that has begun is not cut off by them.
"""

from msgspec import Struct

from protocol.codec import encode
from protocol.errors import ProtocolError
from protocol.values import Metadata, Tool


class Sizes(Struct, frozen=True, kw_only=True):
    """The most of one session."""

    queued_runs: int = 100
    metadata_bytes: int = 65_536
    tools_bytes: int = 262_144
    """Of all its tools' declarations together."""
    log_bytes: int = 64 * 2**20
    """Of all events it ever had, when a client wants to add to it."""


def check_metadata(sizes: Sizes, metadata: Metadata | None) -> None:
    """Raises `limit.exceeded`."""
    if metadata:
        _check("metadata", len(encode(metadata)), sizes.metadata_bytes)


def check_tools(sizes: Sizes, tools: list[Tool] | None) -> None:
    """Raises `limit.exceeded`."""
    if tools:
        _check("tools", len(encode(tools)), sizes.tools_bytes)


def check_queue(sizes: Sizes, queued: int) -> None:
    """Raises `limit.exceeded` if one more would be too many."""
    if queued >= sizes.queued_runs:
        text = f"At most {sizes.queued_runs} runs wait in a session."
        raise ProtocolError("limit.exceeded", text)


def check_log(sizes: Sizes, log_bytes: int) -> None:
    """Raises `limit.exceeded` if the session is full."""
    if log_bytes >= sizes.log_bytes:
        text = f"A session holds at most {sizes.log_bytes} bytes; begin another."
        raise ProtocolError("limit.exceeded", text)


def _check(name: str, size: int, most: int) -> None:
    if size > most:
        text = f"The {name} have {size} bytes; the limit is {most}."
        raise ProtocolError("limit.exceeded", text, details={"path": f"$.{name}"})
