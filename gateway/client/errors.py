"""What a refused command or connection becomes on the client's side; no other exceptions."""

from typing import Any, NoReturn

from gateway.client.words import SENTENCES, Kind, kind_of
from protocol.frames import Error


class GatewayError(Exception):
    """A refusal, with a code of the protocol, or `client.…` for one that was made here.

    `retryable`: the same request may succeed later. `cause` is what happened, without the
    remedy that `message` may name. The `client.` codes:

    - `client.closed`: the client is not connected and will not connect by itself
    - `client.no_gateway`: something answers at the address, but no gateway
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
        cause: str = "",
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.details = details or {}
        self.cause = cause or message

    @property
    def kind(self) -> Kind | None:
        """What a person can act on, such as `not_signed_in` or `no_agent`; None: none of those."""
        return kind_of(self.code)

    @property
    def sentence(self) -> str:
        """The plain sentence for people, without codes and API words."""
        return self.message if self.kind is None else SENTENCES[self.kind]

    def again(self) -> "GatewayError":
        """An equal error, to be raised at another place."""
        return GatewayError(
            self.code,
            self.message,
            retryable=self.retryable,
            details=self.details,
            cause=self.cause,
        )

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def from_frame(frame: Error) -> GatewayError:
    """The error of an `error` frame."""
    return GatewayError(frame.code, frame.message, retryable=frame.retryable, details=frame.details)


def usage(message: str) -> NoReturn:
    """Raises `client.usage`."""
    raise GatewayError("client.usage", message)
