"""The contract of a broker (docs/architecture.md): verbs, values, promises.

Values and the `Broker` protocol only. A broker stores bytes: it never decodes an event, a state or
an answer. The same contract suite (`tests/broker`) runs against every implementation.

Words used below. *fence*: grows with every claim and every `raise_fence`; an append with an older
fence is refused, which is what makes stop and takeover safe. *version*: counts control events.
*lease*: a worker holds a claimed session until `lease_until` by the broker's clock. All times are
seconds since the epoch by the broker's clock.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from gateway.errors import BrokerUnavailable

KEPT_S = 24 * 3600.0
"""How long a command's answer and what is left of a deleted session are kept."""


LOOKED_S = 10
"""How long a subject's full set of busy sessions is believed before somebody looks again."""

GONE_S = 15.0
"""How long a process counts as there after it last announced itself."""

OFFERED_S = 24 * 3600.0
"""How long an agent is known after a process last offered it."""

READ_BYTES = 256 * 1024
"""One answer of `read` ends with the append that makes it larger."""

Share = Literal["read", "act"]
"""What another principal may do in a session: see it, or take part in it."""


class Head(Struct, frozen=True):
    """Where a session's log stands."""

    epoch: str
    seq: int
    version: int
    fence: int


class StoredCommand(Struct, frozen=True):
    """A command whose answer is kept for 24 h: who asked what, and what was answered."""

    key: str
    """`<client>:<id>`, made of id characters and the colon; of one who is not the session's owner
    another id comes before."""
    digest: str
    answer: bytes
    seq: int = 0
    """The last seq of its append; filled in by the broker."""


class Append(Struct, frozen=True, kw_only=True):
    """One atomic append.

    `bodies` are encoded events without session and seq, in order, `control` of them control
    events. Exactly what is given is checked: `expect_version` (the version before), `fence` (of the
    attempt). `n` numbers an attempt's appends 1, 2, 3 …; the repeat of the last (fence, n) changes
    nothing and returns its seq, even if that very append raised the fence. A smaller n of the same
    fence is a ghost of a lost connection: `Fenced`.
    """

    session: str
    epoch: str
    bodies: Sequence[bytes]
    control: int
    expect_version: int | None = None
    fence: int | None = None
    n: int | None = None
    raise_fence: bool = False
    """Ends the attempt that holds the session: new fence, its lease is gone, and the session is
    claimable only if `claimable_at` says so."""
    claimable_at: float | None = None
    """Since when a worker may claim; without effect while a lease is held that this append does
    not end."""
    timer_at: float | None = None
    """The session's next deadline; None: leave it; infinity: none."""
    command: StoredCommand | None = None


class Create(Struct, frozen=True, kw_only=True):
    """A new session with its first events. `owner` is `<tenant>:<subject>` as ids.

    `timer_at` is its first deadline.
    """

    session: str
    owner: str
    agent: str
    bodies: Sequence[bytes]
    control: int
    timer_at: float | None = None
    command: StoredCommand | None = None


class Asker(Struct, frozen=True):
    """For whom a session is loaded."""

    owner: str
    """The principal, as `Create.owner`."""
    command: str = ""
    """The key of its command, if the session is another's."""


class Loaded(Struct, frozen=True, kw_only=True):
    """What `load` found: the snapshot (None: none yet), the events after it, and the head."""

    head: Head
    owner: str
    agent: str
    snapshot: bytes | None
    snapshot_seq: int
    events: Sequence[tuple[int, bytes]]
    """(seq, body) in order, all those after `max(snapshot_seq, after)`."""
    command: StoredCommand | None
    deleted: bool = False
    share: Share | None = None
    """What the session's owner lets the asker do."""
    withheld: bool = False
    """It is another's and not shared with the asker: snapshot, events and command are not here."""
    log_bytes: int = 0
    """The size of all events that it ever had."""


class Announced(Struct, frozen=True):
    """A process that is there, and what it says of itself."""

    process: str
    record: bytes
    age_s: float
    """How long ago it said so; below `GONE_S`."""


class Offered(Struct, frozen=True):
    """The agents that processes offered within `OFFERED_S`."""

    agents: dict[str, bytes]
    """Name -> description, the newest; empty if it has none."""
    since: float
    """What was offered since then is known, what was offered before may not be. Infinity: nothing
    was; minus infinity: nobody else can have offered anything."""


class Claimed(Struct, frozen=True):
    """A session that this worker holds until `lease_until`, with a fence of its own."""

    session: str
    epoch: str
    fence: int
    lease_until: float
    lost: bool
    """Another worker held it and let its lease run out (not: released, or never claimed)."""


class News(Struct, frozen=True):
    """New events of a followed session: `bodies[i]` has seq `first + i`.

    Empty `bodies` mean: something may be missing; look at the head and read. That also comes to
    every follower after the listener was deaf or had to reconnect (`last` 0, epoch empty).
    """

    session: str
    epoch: str
    first: int
    last: int
    version: int
    bodies: Sequence[bytes]


def check_bodies(bodies: Sequence[bytes], *, at_least: int = 0) -> None:
    """Every broker keeps events as lines; the append that deletes a session has one at least.

    Raises:
        ValueError: there are fewer, or one holds a line break.
    """
    if len(bodies) < at_least:
        raise ValueError("the append that deletes a session has at least one event")
    if any(b"\n" in body for body in bodies):
        raise ValueError("an encoded event has no line break")


Follower = Callable[[News], None]
"""Called by the broker in a turn of the loop of its own, never inside `append`; must not block."""

OnControl = Callable[[bytes], None]
"""As a follower, for words from process to process."""

Answered = Callable[[int | BrokerUnavailable], None]
"""Called by the broker once, in a later turn of the loop; must not block, nor raise."""


class Broker(Protocol):
    """The verbs. Every one may raise `BrokerUnavailable`, within 2 s.

    Cancellation of a verb leaves its effect unknown, never the broker broken.
    """

    async def start(self) -> None:
        """Connects and starts the listener.

        A server that does not answer yet is waited for: meanwhile the broker is not `healthy` and
        its verbs raise `BrokerUnavailable`.

        Raises:
            ConfigurationError: it is no server for us, or lets us not in.
        """
        ...

    async def close(self) -> None:
        """Ends the listener and the connections; idempotent."""
        ...

    def now(self) -> float:
        """Seconds since the epoch by the broker's clock; does no I/O."""
        ...

    @property
    def healthy(self) -> bool:
        """Whether the broker answers and the listener is not deaf."""
        ...

    async def create(self, create: Create) -> Head:
        """Makes a session whose events get seq 1, 2, ….

        Raises `Exists` with the session's owner and agent if it does exist (deleted ones too).
        """
        ...

    async def append(self, append: Append) -> int:
        """Stores the events atomically and publishes them; returns the last seq.

        Order of the checks: `SessionMissing`, `EpochChanged`, a repeat of (fence, n), `Duplicate`
        (the command is stored), `Fenced`, `Conflict`.
        """
        ...

    def append_soon(self, append: Append, answered: Answered) -> None:
        """Begins an attempt's append of stream events, for whom a task would cost too much.

        Of an append with epoch, fence and n, and nothing else to check or to set. `answered` gets
        the last seq; or 0: `append` has to do it, or to say why not; or `BrokerUnavailable`:
        whether it is stored is not known. The same append may then be given to `append`.
        """
        ...

    async def load(
        self,
        session: str,
        *,
        after: int = 0,
        epoch: str = "",
        command: str = "",
        asker: Asker | None = None,
    ) -> Loaded:
        """Head, snapshot and the events after it, read atomically.

        With `after` (> 0) and `epoch` of a state that the caller has: only the events after it and
        no snapshot, if the log still is of that epoch and reaches back. `command` is a key.
        With an `asker` the session is withheld unless it is its own or shared with it, and only
        the owner's command is `command`.
        Raises `SessionMissing`. A deleted session is loaded for 24 h, with `deleted` set, without
        snapshot and events.
        """
        ...

    async def read(
        self, session: str, after: int, limit: int, *, epoch: str = ""
    ) -> Sequence[tuple[int, bytes]]:
        """About `limit` events after seq `after`, in order.

        Fewer if there are no more, or if they fill `READ_BYTES`; none only if there are none.
        Raises `SessionMissing`, `EpochChanged` if an `epoch` is given and the log is of another,
        `Trimmed` if event `after + 1` existed and is no longer kept. Of a deleted session the
        events of its last append are kept for 24 h.
        """
        ...

    async def heads(self, sessions: Sequence[str]) -> Sequence[Head | None]:
        """The heads of many sessions in one go; None for a missing one (a deleted one has one)."""
        ...

    async def put_snapshot(
        self,
        session: str,
        epoch: str,
        seq: int,
        data: bytes,
        *,
        keep_events: int,
        keep_bytes: int | None = None,
        keep_s: float | None = None,
    ) -> bool:
        """Stores the snapshot at `seq` if it is newer, of this epoch and not past the head.

        Says whether it did; a missing or deleted session has no use for one. Then trims the log
        behind it: of the events up to `seq` the newest stay, at least as many as all three
        limits allow: `keep_events`, `keep_bytes` in their bodies, none stored longer than
        `keep_s` ago. Events of one append go together.
        """
        ...

    async def delete(self, append: Append) -> int:
        """Like `append` of the last events (at least one); afterwards it is missing to `append`.

        Its log, snapshot, timers and claims go; the meta stays for 24 h so that the id is not
        taken again and followers learn of it.
        """
        ...

    async def sessions(
        self, owner: str, *, limit: int, before: str | None
    ) -> tuple[list[str], bool]:
        """A principal's sessions and those shared with it, the newest first; are there more?

        `before`: only those after it in this order; none if it is not one of them.
        """
        ...

    async def owned(self, owner: str) -> int:
        """How many sessions a principal has, about; those shared with it are not its own."""
        ...

    async def share(
        self, session: str, principal: str, access: Share | None, *, most: int = 2**31
    ) -> bool:
        """Lets another principal into a session, from now on or (None) no more.

        False: `most` others are in already. Raises `SessionMissing`, for a deleted one too.
        """
        ...

    async def shares(self, session: str) -> dict[str, Share]:
        """With whom a session is shared. Raises `SessionMissing`, for a deleted one too."""
        ...

    async def occupy(
        self, owner: str, session: str, version: int, *, most: int, ttl_s: float
    ) -> Sequence[str] | None:
        """Counts a session among its owner's busy ones, of which there are `most`; None: it is in.

        Else they are full, and these are they, for the caller to see which are busy no more;
        empty if somebody looked less than `LOOKED_S` ago. `version` is the session's before it
        becomes busy. All of them are forgotten `ttl_s` after the last one.
        """
        ...

    async def vacate(self, owner: str, session: str, version: int) -> None:
        """The session was not busy at `version`; if it has been occupied since then, it stays."""
        ...

    async def follow(self, session: str, follower: Follower) -> None:
        """Live news of a session to `follower`; returns when the subscription is confirmed.

        Reference counted: who follows twice hears everything once, until it unfollows twice.
        Events come in order, perhaps some from just before the call, perhaps with holes (compare
        `first`); cancelled or failed, nothing is followed.
        """
        ...

    def unfollow(self, session: str, follower: Follower) -> None:
        """Ends it; the subscription itself lingers 5 s."""
        ...

    async def publish_control(self, message: bytes) -> None:
        """A word to every process of this broker, this one too; who is away misses it.

        Nothing that is stored may depend on one: it is lost without a trace.
        """
        ...

    def on_control(self, heard: OnControl) -> None:
        """Calls `heard` with every word from now on (from the start, if not yet started)."""
        ...

    async def keep(self, key: str, value: bytes, *, ttl_s: float) -> None:
        """Keeps a value under a key for so long, in place of what was there; `take` ends it."""
        ...

    async def take(self, key: str) -> bytes | None:
        """The value, for one caller alone, wherever others ask; None if there is none any more."""
        ...

    async def post(self, board: str, notice: bytes, *, until: float) -> None:
        """Adds a notice to a board that all processes read; the same one again lasts longer."""
        ...

    async def posted(self, board: str) -> Sequence[bytes]:
        """The notices of a board whose time is not over, in no order."""
        ...

    async def announce(self, process: str, record: bytes) -> None:
        """Says that a process is there, and what it is; said again every 5 s, it stays.

        Works while the broker is full, too.
        """
        ...

    async def withdraw(self, process: str) -> None:
        """The process ends: it is not announced any more, at once."""
        ...

    async def announced(self) -> Sequence[Announced]:
        """The processes that announced themselves less than `GONE_S` ago, in no order."""
        ...

    async def offer(self, agents: Mapping[str, bytes]) -> None:
        """Says that a process has these agents, name -> description; full or not."""
        ...

    async def offered(self) -> Offered:
        """The agents that any process offered less than `OFFERED_S` ago."""
        ...

    async def claim(self, worker: str, agents: Sequence[str], *, lease_s: float) -> Claimed | None:
        """One session that may be claimed, for one of `agents`; raises its fence and holds it."""
        ...

    async def wait_claimable(self, agents: Sequence[str], timeout_s: float) -> None:
        """Returns when something may have become claimable, or after `timeout_s`."""
        ...

    async def renew(self, session: str, fence: int, *, lease_s: float) -> float:
        """Holds it for `lease_s` more; returns the new end.

        A late renewal succeeds while nobody took the lease. Raises `Fenced` when it was taken, was
        given back, or the session is gone.
        """
        ...

    async def release(
        self,
        session: str,
        fence: int,
        *,
        claimable_at: float | None,
        expect_version: int | None = None,
    ) -> None:
        """Gives the lease back; claimable again at a time, or (None) when an append says so.

        Raises `Fenced` (as `renew`), and `Conflict` if the version is not the expected one
        (something happened: do not park).
        """
        ...

    async def due_timers(self, limit: int) -> Sequence[str]:
        """Sessions whose deadline has passed; each is handed out to one process per second."""
        ...

    async def set_timer(self, session: str, at: float | None, *, expect_version: int) -> None:
        """Sets or (None) clears a deadline; nothing happens if the version is another by now."""
        ...
