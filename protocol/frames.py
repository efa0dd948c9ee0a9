"""Every frame down that is not an event (docs/protocol.md).

They have no `time` and never move a cursor, except `cursor` itself and `subscribed`.
"""

from typing import Any

from msgspec import Struct

from protocol.state import Message, State
from protocol.values import Detail, Metadata, Principal


class Down(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """A frame from the gateway that is not an event."""


class Limits(Struct, frozen=True):
    """What a client must not exceed."""

    max_frame_bytes: int
    max_subscriptions: int


class Server(Struct, frozen=True):
    """Who answers."""

    name: str
    version: str


class Welcome(Down, frozen=True, kw_only=True, tag="welcome"):
    """The answer to `hello`."""

    connection: str
    client: str
    principal: Principal
    heartbeat_ms: int
    limits: Limits
    features: list[str]
    server: Server


class SessionRow(Struct, frozen=True):
    """One session in a list; `status` is the newest run's, or `idle`."""

    session: str
    agent: str
    metadata: Metadata
    status: str
    seq: int
    updated: str


class Ok(Down, frozen=True, kw_only=True, tag="ok"):
    """A request's success and result; which fields there are depends on the request."""

    id: str
    session: str | None = None
    existing: bool | None = None
    message: str | None = None
    run: str | None = None
    seq: int | None = None
    lease_ms: int | None = None
    sessions: list[SessionRow] | None = None
    messages: list[Message] | None = None
    more: bool | None = None


class Error(Down, frozen=True, kw_only=True, tag="error"):
    """A refusal; `id` and `session` where they could be read."""

    code: str
    message: str
    retryable: bool
    id: str | None = None
    session: str | None = None
    details: dict[str, Any] | None = None


class Subscribed(Down, frozen=True, kw_only=True, tag="subscribed"):
    """A subscription begins at cursor `seq`; without `id` it began anew."""

    session: str
    epoch: str
    seq: int
    recovered: bool
    detail: Detail
    id: str | None = None
    state: State | None = None


class Cursor(Down, frozen=True, kw_only=True, tag="cursor"):
    """Nothing visible up to `seq`."""

    session: str
    seq: int


class Ping(Down, frozen=True, kw_only=True, tag="ping"):
    """Liveness; any frame answers it."""


class Pong(Down, frozen=True, kw_only=True, tag="pong"):
    """Answers a `ping`."""


class AuthExpiring(Down, frozen=True, kw_only=True, tag="auth.expiring"):
    """The token ends in `in_ms`."""

    in_ms: int


class Goaway(Down, frozen=True, kw_only=True, tag="goaway"):
    """Reconnect elsewhere after `reconnect_after_ms`."""

    reason: str
    reconnect_after_ms: int


AnyDown = Welcome | Ok | Error | Subscribed | Cursor | Ping | Pong | AuthExpiring | Goaway
