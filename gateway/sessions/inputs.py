"""What a session is decided on besides clients' commands: a worker's steps, and time.

Values only. Every `Step` belongs to the attempt that holds the session and is appended with its
fence; `Tick` is the command that time gives.
"""

from typing import Any, Literal

from msgspec import Struct

from protocol.values import ErrorInfo, FinishReason, Metadata, Tool, Usage

Resume = Literal["none", "history", "replay"]
"""How an agent goes on after a park or a lost worker."""


class Step(Struct, frozen=True, kw_only=True):
    """What a worker does in the live run."""


class ClaimRun(Step, frozen=True, kw_only=True):
    """The worker holds the session: starts, resumes or retries its run.

    Answers with no events if there is nothing to run any more.
    """

    resume: Resume
    lost: bool
    reason: str = "worker.lost"


class StartMessage(Step, frozen=True, kw_only=True):
    """A model step begins; `read` are the steering messages that it sees."""

    message: str
    read: list[str] = []


class StartCall(Step, frozen=True, kw_only=True):
    """The model names a tool in the open message."""

    call: str
    part: int
    name: str
    target: Literal["client", "server"]
    provider: Any = None


class CallRequest(Struct, frozen=True, kw_only=True):
    """A call with its whole arguments. `approval` and the times are a server tool's own."""

    call: str
    name: str
    arguments: Any
    target: Literal["client", "server"]
    approval: bool = False
    timeout_ms: int = 120_000


class EndMessage(Step, frozen=True, kw_only=True):
    """The model step ended; its calls are requested in the same append.

    `invalid` are calls that cannot be offered (no such tool, arguments that are no JSON): they
    complete with the error at once.
    """

    message: str
    status: Literal["complete", "failed"] = "complete"
    usage: Usage | None = None
    calls: list[CallRequest] = []
    invalid: dict[str, ErrorInfo] = {}


class RequestCalls(Step, frozen=True, kw_only=True):
    """Calls outside a model step: they get a message of their own."""

    message: str
    calls: list[CallRequest]
    invalid: dict[str, ErrorInfo] = {}


class ServerResult(Step, frozen=True, kw_only=True):
    """What a server tool gave."""

    call: str
    output: Any = None
    error: ErrorInfo | None = None


class AskApproval(Step, frozen=True, kw_only=True):
    """Asks a person, about no call in particular."""

    approval: str
    title: str
    arguments: Any = None


class ChildStep(Step, frozen=True, kw_only=True):
    """A run of another session began or ended."""

    child_session: str
    child_run: str
    agent: str
    status: Literal["started", "completed", "failed", "cancelled"]
    call: str | None = None


class UpdateSession(Step, frozen=True, kw_only=True):
    """The agent changes its session; metadata is merged by key, null deletes."""

    metadata: Metadata | None = None
    tools: list[Tool] | None = None


class CompleteRun(Step, frozen=True, kw_only=True):
    """The agent returned."""

    output: Any = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


class FailRun(Step, frozen=True, kw_only=True):
    """The agent, its model or its worker failed."""

    error: ErrorInfo


class Tick(Struct, frozen=True):
    """Time passed."""


AnyStep = (
    ClaimRun
    | StartMessage
    | StartCall
    | EndMessage
    | RequestCalls
    | ServerResult
    | AskApproval
    | ChildStep
    | UpdateSession
    | CompleteRun
    | FailRun
)
