"""What the state of a session is made of: its messages, runs, calls and approvals.

Values and lookups alone; how events change them is in `folds`. They are mutable and owned by
whoever folds the state; the parts and tools in them are frozen and may be shared.
"""

from typing import Any, Literal

from msgspec import Struct

from protocol.values import (
    ErrorInfo,
    FilePart,
    FinishReason,
    Metadata,
    Part,
    Progress,
    Target,
    Tool,
    Usage,
)


class Message(Struct, kw_only=True, omit_defaults=True):
    """What a role said, in parts."""

    id: str
    role: Literal["user", "assistant", "system"]
    status: Literal["open", "complete", "interrupted", "failed"]
    time: str
    parts: list[Part]
    run: str | None = None
    by: str | None = None
    metadata: Metadata | None = None
    usage: Usage | None = None


class Run(Struct, kw_only=True, omit_defaults=True):
    """One execution of the agent; `content`, `by` and `metadata` only while it is queued."""

    id: str
    status: Literal["queued", "running", "waiting", "completed", "failed", "cancelled"]
    attempt: int
    seq: int
    trigger: str | None = None
    client: str | None = None
    input: Any = None
    content: list[Part] | None = None
    by: str | None = None
    metadata: Metadata | None = None
    on: list[str] | None = None
    activity: str | None = None
    progress: Progress | None = None
    output: Any = None
    finish_reason: FinishReason | None = None
    error: ErrorInfo | None = None
    usage: Usage | None = None

    @property
    def live(self) -> bool:
        """Whether the run is running or waiting."""
        return self.status in ("running", "waiting")


class Call(Struct, kw_only=True, omit_defaults=True):
    """A tool call; while it streams `arguments` is the text so far."""

    id: str
    run: str
    message: str
    name: str
    target: Target
    arguments: Any
    status: Literal["streaming", "requested", "claimed", "completed"]
    client: str | None = None
    deadline: str | None = None
    lease_ms: int | None = None
    lease_until: str | None = None
    output: Any = None
    error: ErrorInfo | None = None
    files: list[FilePart] | None = None


class Approval(Struct, kw_only=True, omit_defaults=True):
    """A question to a person; open until it has a `decision`."""

    id: str
    run: str
    title: str
    deadline: str
    call: str | None = None
    arguments: Any = None
    decision: Literal["approve", "deny", "expired", "cancelled"] | None = None
    reason: str | None = None
    by: str | None = None


class StateData(Struct, kw_only=True):
    """A session at `seq`. `run` is the newest one that ever started; `queue` waits behind it."""

    session: str
    agent: str = ""
    epoch: str = ""
    seq: int = 0
    metadata: Metadata = {}
    tools: list[Tool] = []
    messages: list[Message] = []
    more: bool = False
    run: Run | None = None
    queue: list[Run] = []
    calls: dict[str, Call] = {}
    approvals: dict[str, Approval] = {}
    remembered: list[str] = []
    custom: dict[str, Any] = {}

    @property
    def live_run(self) -> Run | None:
        """The run that is running or waiting, if there is one."""
        return self.run if self.run is not None and self.run.live else None

    def message(self, message: str) -> Message | None:
        """The message with that id, looked for from the newest."""
        return next((m for m in reversed(self.messages) if m.id == message), None)

    def run_of(self, run: str) -> Run | None:
        """The current or a queued run with that id."""
        if self.run is not None and self.run.id == run:
            return self.run
        return next((r for r in self.queue if r.id == run), None)

    def queued_at(self, run: str) -> int | None:
        """The place of a run in the queue."""
        return next((i for i, r in enumerate(self.queue) if r.id == run), None)
