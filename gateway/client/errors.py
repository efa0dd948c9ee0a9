"""What a refused command or connection becomes on the client's side; no other exceptions."""

from typing import Any, NoReturn

from protocol.frames import Error


class GatewayError(Exception):
    """A refusal, with a code of the protocol, or `client.…` for one that was made here.

    `retryable`: the same request may succeed later. The `client.` codes:

    - `client.closed`: the client is not connected and will not connect by itself
    - `client.unreachable`: there was no welcome in time
    - `client.outdated`: a newer gateway sent what this client cannot read
    - `client.usage`: the call makes no sense; the text says what would
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.details = details or {}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def from_frame(frame: Error) -> GatewayError:
    """The error of an `error` frame."""
    return GatewayError(frame.code, frame.message, retryable=frame.retryable, details=frame.details)


def usage(message: str) -> NoReturn:
    """Raises `client.usage`."""
    raise GatewayError("client.usage", message)
