"""Every frame up (docs/protocol.md).

`Command`s act on one session, carry an `id` that makes them idempotent, and are also taken by
`POST /v1/sessions/{id}/commands`; the rest is about the connection. Unknown fields are ignored.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from protocol.values import (
    ContentPart,
    Detail,
    ErrorInfo,
    FilePart,
    Id,
    IfBusy,
    Metadata,
    Name,
    Progress,
    Seq,
    Tool,
)

Limit = Annotated[int, Meta(ge=1, le=500)]
Short = Annotated[str, Meta(max_length=1024)]
Token = Annotated[str, Meta(max_length=16_384)]
ToolNames = Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=256)]
Tools = Annotated[list[Tool], Meta(max_length=256)]


class Up(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """A frame from a client."""


class SubscriptionOptions(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a subscription wants; see `Subscription`."""

    session: Id
    after: Seq | None = None
    epoch: Annotated[str, Meta(max_length=64)] | None = None
    detail: Detail | None = None
    window: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    messages: Annotated[int, Meta(ge=0, le=10_000)] = 100
    tools: ToolNames | None = None


class App(Struct, frozen=True, omit_defaults=True):
    """The client program, for logs."""

    name: Annotated[str, Meta(max_length=128)]
    version: Annotated[str, Meta(max_length=64)] | None = None


class Hello(Up, frozen=True, kw_only=True, tag="hello"):
    """The first frame of a connection."""

    token: Token | None = None
    client: Id | None = None
    app: App | None = None
    sessions: Annotated[list[SubscriptionOptions], Meta(max_length=1024)] | None = None


class AuthRefresh(Up, frozen=True, kw_only=True, tag="auth.refresh"):
    """A newer token of the same subject."""

    id: Id
    token: Token


class PingUp(Up, frozen=True, kw_only=True, tag="ping"):
    """Asks for a `pong`."""


class PongUp(Up, frozen=True, kw_only=True, tag="pong"):
    """Answers a `ping`."""


class Ack(Up, frozen=True, kw_only=True, tag="ack"):
    """Everything up to `seq` was received by the page."""

    session: Id
    seq: Seq


class SessionList(Up, frozen=True, kw_only=True, tag="session.list"):
    """The principal's sessions, the newest first, before the session `before`."""

    id: Id
    limit: Limit = 50
    before: Id | None = None


class Command(Up, frozen=True, kw_only=True):
    """A request to one session; idempotent by `id`."""

    id: Id


class SessionCommand(Command, frozen=True, kw_only=True):
    """A command to a session that must exist."""

    session: Id


class SessionCreate(Command, frozen=True, kw_only=True, tag="session.create"):
    """Makes a session; without `session` the id comes from (principal, client, id)."""

    agent: Name
    session: Id | None = None
    metadata: Metadata | None = None
    tools: Tools | None = None


class SessionSubscribe(
    SubscriptionOptions, frozen=True, kw_only=True, tag_field="type", tag="session.subscribe"
):
    """Subscribes this connection, or replaces the options of its subscription."""

    id: Id


class SessionUnsubscribe(SessionCommand, frozen=True, kw_only=True, tag="session.unsubscribe"):
    """Ends this connection's subscription."""


class SessionUpdate(SessionCommand, frozen=True, kw_only=True, tag="session.update"):
    """Replaces the tools, merges the metadata by key (null deletes)."""

    tools: Tools | None = None
    metadata: Metadata | None = None


class SessionDelete(SessionCommand, frozen=True, kw_only=True, tag="session.delete"):
    """Stops what runs and deletes the session."""


class SessionMessages(SessionCommand, frozen=True, kw_only=True, tag="session.messages"):
    """Older messages, before the message `before`."""

    before: Id | None = None
    limit: Limit = 50


class MessageSend(SessionCommand, frozen=True, kw_only=True, tag="message.send"):
    """A user's message; starts a run unless `start` is false."""

    content: str | list[ContentPart]
    message: Id | None = None
    metadata: Metadata | None = None
    if_busy: IfBusy = "reject"
    start: bool = True
    after: Id | None = None


class RunStart(SessionCommand, frozen=True, kw_only=True, tag="run.start"):
    """A run without a message, with any JSON as input."""

    input: Any = None
    if_busy: IfBusy = "reject"
    after: Id | None = None


class RunInterrupt(SessionCommand, frozen=True, kw_only=True, tag="run.interrupt"):
    """Stops the live run, or the named one."""

    run: Id | None = None
    reason: Short | None = None


class ToolClaim(SessionCommand, frozen=True, kw_only=True, tag="tool.claim"):
    """A tab wants to execute a call."""

    call: Id
    progress: Progress | None = None


class ToolRenew(SessionCommand, frozen=True, kw_only=True, tag="tool.renew"):
    """The tab that holds the call is still at it."""

    call: Id
    progress: Progress | None = None


class ToolResult(SessionCommand, frozen=True, kw_only=True, tag="tool.result"):
    """The outcome of a call: `output` (absent is null) or `error`."""

    call: Id
    output: Any = None
    error: ErrorInfo | None = None
    files: Annotated[list[FilePart], Meta(max_length=64)] | None = None


class ApprovalRespond(SessionCommand, frozen=True, kw_only=True, tag="approval.respond"):
    """A person's decision; `remember`: this tool needs no more asking in this session."""

    approval: Id
    decision: Literal["approve", "deny"]
    arguments: Any = None
    reason: Short | None = None
    remember: bool = False


DecidedCommand = (
    SessionCreate
    | SessionUpdate
    | SessionDelete
    | MessageSend
    | RunStart
    | RunInterrupt
    | ToolClaim
    | ToolRenew
    | ToolResult
    | ApprovalRespond
)
"""The commands that the decider answers with events."""

AnySessionCommand = DecidedCommand | SessionMessages
"""What `POST /v1/sessions/{id}/commands` takes."""

AnyUp = (
    Hello
    | AuthRefresh
    | PingUp
    | PongUp
    | Ack
    | SessionList
    | SessionSubscribe
    | SessionUnsubscribe
    | AnySessionCommand
)
"""Every frame that a client may send."""

ALWAYS_DECIDED_ANEW = (ToolClaim, ToolRenew)
"""Decided commands whose answers are not kept: a repeat is decided again."""
