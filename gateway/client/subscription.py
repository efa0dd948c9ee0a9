"""One subscription's place in its session: cursor, gaps, acks (docs/protocol.md). No I/O.

The cursor is (epoch, seq). An event is applied once: at or below the cursor it is dropped, and
a merged one that straddles the cursor, or a hole where the detail is dense (`full`), means that
the place is lost: subscribe again after the cursor. Until that is answered everything that still
comes from before is dropped.
"""

import enum
import math
from typing import Final, Literal

from msgspec import Struct

from protocol.commands import Ack, SubscriptionOptions
from protocol.values import Detail

WINDOW = 512
ACK_FRAMES = 32
ACK_MS = 250


class Verdict(enum.Enum):
    """What to do with an event."""

    APPLY = enum.auto()
    DROP = enum.auto()
    LOST = enum.auto()  # subscribe again


class Awaiting(enum.Enum):
    """What answers a request that has no id."""

    HELLO = enum.auto()


HELLO: Final = Awaiting.HELLO


class Wishes(Struct, frozen=True):
    """What a subscription asks for beside its place."""

    detail: Detail | None = None
    tools: tuple[str, ...] = ()
    messages: int = 100


class Subscription:
    """The place in `session`. `after` is the `session.create` that must be sent before it."""

    def __init__(self, session: str, wishes: Wishes, after: str | None = None) -> None:
        self.session = session
        self.wishes = wishes
        self.after = after
        self.epoch: str | None = None
        self.seq = 0
        self.granted: str | None = None
        self.asked: str | None = None  # the wish that `granted` answers
        self.awaiting: str | Literal[Awaiting.HELLO] | None = None
        self.outdated = False  # the hello's answer is to wishes that have changed
        self.unacked = 0
        self.ack_at = math.inf
        self.retry_at = math.inf
        self.refusals = 0

    def request(self) -> SubscriptionOptions:
        """The fields of the next request: from the cursor on, if there is one."""
        return SubscriptionOptions(
            session=self.session,
            after=None if self.epoch is None else self.seq,
            epoch=self.epoch,
            detail=self.wishes.detail,
            tools=list(self.wishes.tools) or None,
            messages=self.wishes.messages,
            window=WINDOW,
        )

    def await_answer(self, answer: str | Literal[Awaiting.HELLO]) -> None:
        """A request went out: nothing counts until it is answered."""
        self.awaiting = answer
        self.retry_at = math.inf
        self.unacked = 0
        self.ack_at = math.inf

    def subscribed(
        self, answer: str | None, *, recovered: bool, epoch: str, seq: int, granted: str
    ) -> Literal["reset", "recovered", "ignored", "lost"]:
        """Take a `subscribed` with the id `answer`: what it means for the session's state.

        Without an id it answers the hello, or is the news that the log's epoch changed. `lost`:
        it goes on from a place, or in a detail, that is not ours any more; what follows it must
        not be folded into the state we have.
        """
        if answer is None and self.outdated:
            self.outdated = False
            return "recovered" if recovered else "ignored"
        if answer is not None and answer != self.awaiting:
            return "ignored"
        if answer is not None or self.awaiting is HELLO:
            self.awaiting = None
            self.outdated = False
        self.refusals = 0
        if recovered:
            lowered = granted != self.granted and self.asked == self.wishes.detail
            if epoch != self.epoch or seq > self.seq or lowered:
                self.epoch = None
                return "lost"
            self.granted, self.asked = granted, self.wishes.detail
            return "recovered"
        self.granted, self.asked = granted, self.wishes.detail
        self.epoch = epoch
        self.seq = seq
        return "reset"

    def change(self, wishes: Wishes) -> None:
        """Other wishes, from the cursor on: another detail leaves what was seen as it is.

        Where tools decide what is seen a new state is asked for.
        """
        if self.granted != "full" and set(wishes.tools) != set(self.wishes.tools):
            self.epoch = None
        self.wishes = wishes

    def receive(self, seq: int, from_seq: int | None, now_ms: float) -> Verdict:
        """Judge an event and move the cursor."""
        if self._deaf:
            return Verdict.DROP
        self.unacked += 1
        self.ack_at = min(self.ack_at, now_ms + ACK_MS)
        if seq <= self.seq:
            return Verdict.DROP
        first = seq if from_seq is None else from_seq
        if first <= self.seq or (self.granted == "full" and first > self.seq + 1):
            return Verdict.LOST
        self.seq = seq
        return Verdict.APPLY

    def skip(self, seq: int) -> Verdict:
        """Take a `cursor` frame: nothing visible up to `seq`; never to be applied."""
        if self._deaf or seq <= self.seq:
            return Verdict.DROP
        if self.granted == "full":  # everything is visible there: something was lost
            return Verdict.LOST
        self.seq = seq
        return Verdict.DROP

    @property
    def _deaf(self) -> bool:
        return self.awaiting is not None or self.epoch is None

    def ack(self, now_ms: float) -> Ack | None:
        """The `ack` that is due, if one is."""
        if self.unacked < ACK_FRAMES and now_ms < self.ack_at:
            return None
        self.unacked = 0
        self.ack_at = math.inf
        return Ack(session=self.session, seq=self.seq)
