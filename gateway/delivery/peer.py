"""What carries a connection's text messages; transports implement it, `connection` uses it."""

from collections.abc import Callable
from typing import Protocol

Heard = Callable[[str | bytes], None]
"""Takes a message as `Peer.receive` gives it; must not raise, must not block."""


class Peer(Protocol):
    """One client as a stream of text messages.

    Writing never waits: whoever writes looks at `writable` before. All but `receive` are
    synchronous and never raise, also when the client is gone.
    """

    @property
    def writable(self) -> bool:
        """Whether `write` would not pile up more than one message."""
        ...

    def write(self, message: bytes) -> None:
        """Sends one text message (UTF-8)."""
        ...

    def when_writable(self, callback: Callable[[], None]) -> None:
        """`callback` is called whenever `writable` becomes true again."""
        ...

    async def receive(self) -> str | bytes | None:
        """The next message, bytes for a binary one; None when the client is gone or closed."""
        ...

    def listen(self, heard: Heard) -> None:
        """Gives what came and comes to `heard`, where this transport can: without a task's turn.

        `receive` then only returns at the end. Elsewhere messages are still to be received.
        """
        ...

    def close(self, code: int, reason: str) -> None:
        """Closes; a client that does not answer is cut off within 2 s. Idempotent."""
        ...
