"""Every event of a session (docs/protocol.md) without `session` and `seq`.

That is how events are stored and published; whoever sends one down splices the two in front.
`time` is RFC 3339 UTC with milliseconds. Control events raise the session's version, stream
events only add content. A field that defaults to None is absent on the wire when it has no value.
"""

from typing import Any, Literal

from msgspec import Struct

from protocol.values import (
    ErrorInfo,
    FilePart,
    FinishReason,
    Index,
    Kind,
    Metadata,
    Number,
    Part,
    Progress,
    Target,
    Tool,
    Usage,
)


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What happened, when."""

    time: str


class ControlEvent(Event, frozen=True, kw_only=True):
    """Changes what may happen next."""


class StreamEvent(Event, frozen=True, kw_only=True):
    """Only adds content."""


class SessionCreated(ControlEvent, frozen=True, kw_only=True, tag="session.created"):
    """Seq 1 of every session."""

    agent: str
    metadata: Metadata | None = None
    tools: list[Tool] | None = None


class SessionUpdated(ControlEvent, frozen=True, kw_only=True, tag="session.updated"):
    """The whole new values of what changed."""

    metadata: Metadata | None = None
    tools: list[Tool] | None = None


class SessionDeleted(ControlEvent, frozen=True, kw_only=True, tag="session.deleted"):
    """The last event of a session."""


class SessionRewound(ControlEvent, frozen=True, kw_only=True, tag="session.rewound"):
    """The messages after `after` are gone."""

    after: str


class MessageAdded(ControlEvent, frozen=True, kw_only=True, tag="message.added"):
    """A whole message; those of users carry no `run`."""

    message: str
    role: Literal["user", "assistant", "system"]
    parts: list[Part]
    by: str | None = None
    metadata: Metadata | None = None
    run: str | None = None


class MessageStarted(ControlEvent, frozen=True, kw_only=True, tag="message.started"):
    """A model step begins; `read` names the steering messages that its model call saw."""

    message: str
    run: str
    read: list[str] | None = None


class MessageCompleted(ControlEvent, frozen=True, kw_only=True, tag="message.completed"):
    """A model step ended."""

    message: str
    status: Literal["complete", "interrupted", "failed", "discarded"]
    usage: Usage | None = None


class RunQueued(ControlEvent, frozen=True, kw_only=True, tag="run.queued"):
    """A run that waits for a worker; of a message that waits with it also the message.

    `by` is who asked, if that is another than the owner, or if a message waits.
    """

    run: str
    client: str | None = None
    input: Any = None
    trigger: str | None = None
    content: list[Part] | None = None
    by: str | None = None
    metadata: Metadata | None = None


class RunStarted(ControlEvent, frozen=True, kw_only=True, tag="run.started"):
    """The first worker claimed the run; comes once."""

    run: str


class RunRetrying(ControlEvent, frozen=True, kw_only=True, tag="run.retrying"):
    """A worker was lost; another one takes the run over."""

    run: str
    attempt: int
    reason: str | None = None


class RunResumed(ControlEvent, frozen=True, kw_only=True, tag="run.resumed"):
    """A parked run goes on."""

    run: str
    attempt: int
    reason: str | None = None


class RunWaiting(ControlEvent, frozen=True, kw_only=True, tag="run.waiting"):
    """Only the client calls and approvals in `on` can move the run."""

    run: str
    on: list[str]


class RunCompleted(ControlEvent, frozen=True, kw_only=True, tag="run.completed"):
    """The last event of a run that went well."""

    run: str
    output: Any = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


class RunFailed(ControlEvent, frozen=True, kw_only=True, tag="run.failed"):
    """The last event of a run that failed."""

    run: str
    error: ErrorInfo


class RunCancelled(ControlEvent, frozen=True, kw_only=True, tag="run.cancelled"):
    """The last event of a run that was stopped; `by` is a subject."""

    run: str
    by: str
    reason: str | None = None


class RunChild(ControlEvent, frozen=True, kw_only=True, tag="run.child"):
    """A run of another session that this run started."""

    run: str
    child_session: str
    child_run: str
    agent: str
    status: Literal["started", "completed", "failed", "cancelled"]
    call: str | None = None


class ToolCallStarted(ControlEvent, frozen=True, kw_only=True, tag="tool_call.started"):
    """The model names a tool; its arguments may still be streaming."""

    message: str
    part: Index
    call: str
    name: str
    target: Target
    provider: Any = None


class ToolCallRequested(ControlEvent, frozen=True, kw_only=True, tag="tool_call.requested"):
    """The call is offered, once; `client` names the tab that triggered the run."""

    call: str
    run: str
    message: str
    name: str
    arguments: Any
    target: Target
    deadline: str
    client: str | None = None
    lease_ms: int | None = None


class ToolCallClaimed(ControlEvent, frozen=True, kw_only=True, tag="tool_call.claimed"):
    """A tab executes the call until `lease_until`; a renewal is another one of these.

    `by` is the tab's subject, if that is another than the owner.
    """

    call: str
    client: str
    lease_until: str
    by: str | None = None


class ToolCallReleased(ControlEvent, frozen=True, kw_only=True, tag="tool_call.released"):
    """The call is offered again."""

    call: str
    reason: Literal["unclaimed", "lease_expired"]


class ToolCallCompleted(ControlEvent, frozen=True, kw_only=True, tag="tool_call.completed"):
    """The one accepted result of a call; no `error` is success, no `output` is null."""

    call: str
    output: Any = None
    error: ErrorInfo | None = None
    files: list[FilePart] | None = None


class ApprovalRequested(ControlEvent, frozen=True, kw_only=True, tag="approval.requested"):
    """A person is asked; of a call that needs consent `title` is the tool's name."""

    approval: str
    run: str
    title: str
    deadline: str
    call: str | None = None
    arguments: Any = None


class ApprovalResolved(ControlEvent, frozen=True, kw_only=True, tag="approval.resolved"):
    """The decision; `arguments` only if they were edited."""

    approval: str
    decision: Literal["approve", "deny", "expired", "cancelled"]
    arguments: Any = None
    reason: str | None = None
    by: str | None = None
    remember: bool | None = None


class MessageDelta(StreamEvent, frozen=True, kw_only=True, tag="message.delta"):
    """A piece of a text; adjacent ones of one part may be merged."""

    message: str
    part: Index
    kind: Kind
    delta: str


class MessagePart(StreamEvent, frozen=True, kw_only=True, tag="message.part"):
    """Adds or replaces one whole part."""

    message: str
    part: Index
    content: Part


class ToolCallDelta(StreamEvent, frozen=True, kw_only=True, tag="tool_call.delta"):
    """A piece of the arguments' JSON text."""

    call: str
    delta: str


class ToolCallProgress(StreamEvent, frozen=True, kw_only=True, tag="tool_call.progress"):
    """How far a call is."""

    call: str
    current: Number | None = None
    total: Number | None = None
    text: str | None = None


class RunActivity(StreamEvent, frozen=True, kw_only=True, tag="run.activity"):
    """What a run does now (`thinking`, `calling_tool`, `waiting_for_worker`, …)."""

    run: str
    activity: str
    text: str | None = None


class RunProgress(StreamEvent, frozen=True, kw_only=True, tag="run.progress"):
    """How far a run is."""

    run: str
    current: Number
    total: Number | None = None
    text: str | None = None

    def value(self) -> Progress:
        """The progress as the state holds it."""
        return Progress(self.current, self.total, self.text)


class RunLog(StreamEvent, frozen=True, kw_only=True, tag="run.log"):
    """A line for developers."""

    run: str
    level: str
    text: str


class RunOutput(StreamEvent, frozen=True, kw_only=True, tag="run.output"):
    """The partial output so far."""

    run: str
    output: Any


class Custom(StreamEvent, frozen=True, kw_only=True, tag="custom"):
    """Anything an agent wants its page to know; with `keep` the state holds the newest."""

    name: str
    value: Any
    keep: bool | None = None


AnyEvent = (
    SessionCreated
    | SessionUpdated
    | SessionDeleted
    | SessionRewound
    | MessageAdded
    | MessageStarted
    | MessageCompleted
    | RunQueued
    | RunStarted
    | RunRetrying
    | RunResumed
    | RunWaiting
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunChild
    | ToolCallStarted
    | ToolCallRequested
    | ToolCallClaimed
    | ToolCallReleased
    | ToolCallCompleted
    | ApprovalRequested
    | ApprovalResolved
    | MessageDelta
    | MessagePart
    | ToolCallDelta
    | ToolCallProgress
    | RunActivity
    | RunProgress
    | RunLog
    | RunOutput
    | Custom
)
RunEnd = RunCompleted | RunFailed | RunCancelled
