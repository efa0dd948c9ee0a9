"""What can be wrong with a frame or a command, as exceptions that keep data.

Only exceptions of the protocol; those of the gateway's own machinery are in `gateway.errors`.
"""

from typing import Any

from protocol.codes import ERRORS


class ProtocolError(Exception):
    """A refusal with a code of `codes.ERRORS`; becomes one `error` frame.

    `id` and `session` are echoed where they could be read; `details` may name the field
    (`{"path": "$.content"}`).
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        details: dict[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - the wire's name
        session: str | None = None,
    ) -> None:
        assert code in ERRORS, code
        self.code = code
        self.message = message or ERRORS[code].text
        self.details = details
        self.id = id
        self.session = session
        super().__init__(code, self.message)

    @property
    def retryable(self) -> bool:
        """Whether the same frame may be sent again."""
        return ERRORS[self.code].retryable

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def malformed(message: str, path: str = "$", **echo: str | None) -> ProtocolError:
    """A `frame.malformed` that names the field at `path`."""
    return ProtocolError("frame.malformed", message, details={"path": path}, **echo)


def excerpt(value: object, limit: int = 64) -> str:
    """`value` as printable text of at most `limit` characters, safe to echo in an error or log."""
    text = "".join(
        c if c.isprintable() and c not in "<>&" else "?" for c in str(value)[: limit + 1]
    )
    return text if len(text) <= limit else text[: limit - 1] + "…"
