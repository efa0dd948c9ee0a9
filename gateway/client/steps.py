"""What goes into the connection machine and what comes out of it, as values.

Sockets are numbers that the machine gives; the caller maps them to real ones. Times are
milliseconds by the caller's clock. Frames are bytes: one JSON object each.
"""

from typing import Literal

from msgspec import Raw, Struct

from gateway.client.subscription import Wishes
from protocol.commands import AuthRefresh, Command, SessionList

Status = Literal["connecting", "open", "resuming", "offline", "closed"]


class Start(Struct, frozen=True):
    """Connect, also after a final close."""


class Stop(Struct, frozen=True):
    """Hang up and stay so."""


class Tick(Struct, frozen=True):
    """The machine's deadline has come."""


class Hint(Struct, frozen=True):
    """The network may have changed, or somebody pressed "try now"."""


class Online(Struct, frozen=True):
    """What the system says of the network."""

    online: bool


class Opened(Struct, frozen=True):
    """A socket is open; `token` goes with its hello."""

    socket: int
    token: str | None = None


class Text(Struct, frozen=True):
    """A whole WebSocket message came."""

    socket: int
    text: bytes


class Closed(Struct, frozen=True):
    """A socket is gone, or never opened (1006)."""

    socket: int
    code: int
    reason: str = ""


class Issue(Struct, frozen=True):
    """A command to be sent until it is answered."""

    frame: Command | SessionList | AuthRefresh


class Subscribe(Struct, frozen=True):
    """Listen to a session, or change the wishes; `after` is its `session.create`, if unanswered."""

    session: str
    wishes: Wishes
    after: str | None = None


class Unsubscribe(Struct, frozen=True):
    """Listen to it no more."""

    session: str


Input = (
    Start | Stop | Tick | Hint | Online | Opened | Text | Closed | Issue | Subscribe | Unsubscribe
)


class Connect(Struct, frozen=True):
    """Open a socket; answer with `Opened` or `Closed`."""

    socket: int


class Send(Struct, frozen=True):
    """Send one WebSocket message."""

    socket: int
    text: bytes


class Close(Struct, frozen=True):
    """Close a socket; nothing of it is heard any more."""

    socket: int


class Refresh(Struct, frozen=True):
    """The token ends soon: issue an `auth.refresh`."""


class Welcomed(Struct, frozen=True):
    """The gateway said who it is."""

    frame: bytes


class StatusChanged(Struct, frozen=True):
    """How the connection is; `code` and `reason` are those of the last loss."""

    status: Status
    retry_at: float | None
    code: int
    reason: str


class Answered(Struct, frozen=True):
    """A command's `ok` or `error`, once."""

    id: str
    frame: bytes


class Received(Struct, frozen=True):
    """The next event of a session; `seq` is the cursor after it."""

    session: str
    seq: int
    frame: bytes


class Reset(Struct, frozen=True):
    """The session begins anew with this state."""

    session: str
    epoch: str
    seq: int
    detail: str
    state: Raw


class Recovered(Struct, frozen=True):
    """Nothing was missed: events follow where they ended."""

    session: str


class Refused(Struct, frozen=True):
    """The session cannot be listened to; it is forgotten."""

    session: str
    frame: bytes


class Problem(Struct, frozen=True):
    """An `error` that answers nothing."""

    frame: bytes


Effect = (
    Connect
    | Send
    | Close
    | Refresh
    | Welcomed
    | StatusChanged
    | Answered
    | Received
    | Reset
    | Recovered
    | Refused
    | Problem
)
