"""What goes wrong in an agent's own terms; how a run ends with it is decided elsewhere."""

from gateway.errors import GatewayError
from protocol.values import ErrorInfo

NOT_THEIRS = (GeneratorExit, KeyboardInterrupt)
"""What comes out of an agent's or a tool's code and is not its failure, beside a cancellation."""


class AgentError(GatewayError):
    """An agent gives up: its run fails with this code and text."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(code, message)

    def __str__(self) -> str:
        return self.message

    @property
    def info(self) -> ErrorInfo:
        """The error as events carry it."""
        return ErrorInfo(self.code, self.message)


class ToolError(AgentError):
    """A tool call came to nothing: refused, denied, timed out, or its tool failed."""


class DivergedError(AgentError):
    """A replayed agent did something else than what its earlier attempt committed."""

    def __init__(self, message: str) -> None:
        super().__init__("run.diverged", message)


class NotJsonError(GatewayError, ValueError):
    """An agent's value has no JSON form; the text says what and where."""
