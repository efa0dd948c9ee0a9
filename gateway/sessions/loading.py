"""From bytes to sessions and back: folding what a broker loaded, writing snapshots.

No decision is made here.
"""

import contextlib
from collections.abc import Iterable

import msgspec

from gateway.broker.base import Broker, Loaded
from gateway.errors import BrokerError, BrokerUnavailable
from gateway.sessions.session import Session, from_snapshot, new_session, to_snapshot
from protocol.codec import decode_event
from protocol.events import Event
from protocol.state import joined


class UnknownEvent(Event, frozen=True, kw_only=True):
    """Stands for an event of a newer version: it only moves the cursor."""


_UNKNOWN = UnknownEvent(time="")


def fold_on(session: Session, events: Iterable[tuple[int, bytes]]) -> None:
    """Folds stored bodies, in order, into a session."""
    for seq, event in joined((seq, decode_event(body) or _UNKNOWN) for seq, body in events):
        session.apply(event, seq)


def fold_loaded(session_id: str, loaded: Loaded) -> Session:
    """The session that a full `load` describes."""
    if loaded.snapshot is None:
        session = new_session(session_id, loaded.head.epoch, loaded.owner)
    else:
        session = _restored(session_id, loaded, loaded.snapshot)
    fold_on(session, loaded.events)
    return settle(session, loaded)


def settle(session: Session, loaded: Loaded) -> Session:
    """Takes over what only the broker knows: where the log stands."""
    session.version = loaded.head.version
    session.fence = loaded.head.fence
    session.log_bytes = loaded.log_bytes
    session.state.epoch = loaded.head.epoch
    return session


def _restored(session_id: str, loaded: Loaded, snapshot: bytes) -> Session:
    try:
        session = from_snapshot(snapshot, loaded.owner)
    except msgspec.MsgspecError as error:
        raise BrokerUnavailable(f"The snapshot of {session_id} cannot be read: {error}") from error
    if session.state.session != session_id:
        raise BrokerUnavailable(f"Asked for {session_id}, got {session.state.session}.")
    return session


class Snapshots:
    """Writes a snapshot at the end of a run and every `every` events; the appender calls it.

    What the log keeps behind it, for cursors to resume from, is the least of the three limits.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        every: int = 500,
        keep_events: int = 2000,
        keep_bytes: int | None = None,
        keep_s: float | None = None,
    ) -> None:
        self._broker = broker
        self._every = every
        self._keep_events = keep_events
        self._keep_bytes = keep_bytes
        self._keep_s = keep_s

    def due(self, session: Session, seq: int) -> bool:
        """Whether it is time for one after an append that left the log at `seq`."""
        return seq - session.snapshot_seq >= self._every

    async def after(self, session: Session, *, ended: bool) -> None:
        """Call after an append that left the log at `session`; a failure is not one of it."""
        seq = session.state.seq
        if not ended and not self.due(session, seq):
            return
        session.snapshot_seq = seq
        with contextlib.suppress(BrokerError):
            await self._broker.put_snapshot(
                session.state.session,
                session.state.epoch,
                seq,
                to_snapshot(session),
                keep_events=self._keep_events,
                keep_bytes=self._keep_bytes,
                keep_s=self._keep_s,
            )
