"""A session as the gateway knows it: the wire state, and a ledger of what only it must remember.

Both are folds over the same events. The ledger never leaves the server except into snapshots; what
a client may know belongs into `protocol.state`. No I/O, no clock.
"""

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from gateway.sessions.access import subject_of
from protocol import events as ev
from protocol.state import Approval, Call, State
from protocol.values import time_seconds, time_text


class OpenCall(Struct):
    """A call without a result."""

    since: str
    """When it was started, requested or released, whichever came last."""
    idempotent: bool = False
    released: bool = False
    """Its holder's lease ran out: others may claim it, if it is idempotent."""
    holder: str = ""
    """The subject whose tab `Call.client` is; empty: the owner."""


class Child(Struct, frozen=True):
    """A run of another session, started by a run of this one."""

    session: str
    run: str
    agent: str
    parent: str
    call: str | None = None


class Orphan(Struct, frozen=True):
    """A child whose parent ended at `since` before it: to be interrupted."""

    session: str
    run: str
    since: str


class Ledger(Struct, kw_only=True):
    """What decisions need beyond the wire state."""

    open_calls: dict[str, OpenCall] = {}
    open_approvals: list[str] = []
    shown: dict[str, str] = {}
    """Approvals of runs that have not ended -> digest of the arguments a person was shown."""
    asked: list[str] = []
    """Approvals of no call that the live run asked for since its newest message, oldest first."""
    unread: list[str] = []
    """Steering messages that no `message.started` has read, oldest first."""
    born: dict[str, str] = {}
    """Live and queued runs -> time of `run.queued`."""
    begun_by: dict[str, str] = {}
    """Of these the ones that another than the owner asked for -> its subject."""
    children: dict[str, Child] = {}
    """Child runs that have not ended, by run id."""
    orphans: list[Orphan] = []
    losses: int = 0
    """Attempts of the live run lost with their worker since it last made progress."""
    updated: str = ""
    """Time of the last control event."""
    deleted: bool = False


class Session(Struct, kw_only=True):
    """State and ledger at `state.seq`, and where the log stood: owned by whoever folds it."""

    state: State
    ledger: Ledger
    owner: str = ""
    version: int = 0
    fence: int = 0
    snapshot_seq: int = 0
    """Where the newest snapshot known here is."""
    log_bytes: int = 0
    """The size of all events it ever had, when it was loaded."""

    def apply(self, event: ev.Event, seq: int) -> None:
        """Folds one event in."""
        busy = self.state.live_run is not None or bool(self.state.queue)
        self.state.apply(event, seq)
        if isinstance(event, ev.ControlEvent):
            self.version += 1
            self.ledger.updated = event.time
            _note(self, event, busy)

    def open_call(self, call: str) -> Call | None:
        """A call that has no result yet."""
        return self.state.calls.get(call) if call in self.ledger.open_calls else None


def new_session(session: str, epoch: str, owner: str) -> Session:
    """A session before its first event."""
    return Session(state=State(session=session, epoch=epoch), ledger=Ledger(), owner=owner)


class Snapshot(Struct):
    """What a snapshot holds; an older one that cannot be read any more is folded anew."""

    state: State
    ledger: Ledger
    version: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Snapshot).decode


def to_snapshot(session: Session) -> bytes:
    """The session as bytes."""
    return _encode(Snapshot(session.state, session.ledger, session.version))


def from_snapshot(data: bytes, owner: str) -> Session:
    """The inverse of `to_snapshot`. Raises `msgspec.ValidationError`."""
    shot = _decode(data)
    return Session(
        state=shot.state,
        ledger=shot.ledger,
        version=shot.version,
        owner=owner,
        snapshot_seq=shot.state.seq,
    )


def copy(session: Session) -> Session:
    """A session that shares nothing mutable with this one."""
    twin = from_snapshot(to_snapshot(session), session.owner)
    twin.fence, twin.snapshot_seq = session.fence, session.snapshot_seq
    return twin


def digest(arguments: Any) -> str:
    """Stands for arguments, whatever the order of their keys."""
    text = msgspec.json.encode(arguments, order="deterministic")
    return hashlib.blake2b(text, digest_size=12).hexdigest()


def same_json(one: Any, other: Any) -> bool:
    """Whether both are the same JSON: to Python alone 1 and true are equal."""
    return digest(one) == digest(other)


def _run_of(approval: Approval | None) -> str | None:
    return None if approval is None else approval.run


ORPHAN_MEMORY_S = 60.0
"""How long an orphan is remembered, at least; to interrupt one twice is harmless."""


def _note(session: Session, event: ev.ControlEvent, busy: bool) -> None:
    """The ledger's part of the fold; `busy` is how it was before the event."""
    ledger = session.ledger
    match event:
        case ev.MessageAdded(role="user", message=message):
            if busy:
                ledger.unread.append(message)
        case ev.MessageStarted(read=read):
            ledger.unread = [m for m in ledger.unread if m not in (read or ())]
            ledger.asked = []
        case ev.MessageCompleted(status=status):
            if status == "discarded":
                _forget_dropped(session)
            else:
                ledger.losses = 0
        case ev.SessionRewound():
            _forget_dropped(session)
        case ev.SessionDeleted():
            ledger.deleted = True
        case ev.RunChild():
            _note_child(ledger, event)
        case ev.ApprovalRequested(approval=approval, arguments=arguments, call=call):
            ledger.open_approvals.append(approval)
            if call is None:
                ledger.asked.append(approval)
            ledger.shown[approval] = digest(arguments)
        case ev.ApprovalResolved(approval=approval):
            ledger.open_approvals = [a for a in ledger.open_approvals if a != approval]
            ledger.losses = 0
        case _:
            _note_run(session, event)
            _note_call(session, event)


def _note_run(session: Session, event: ev.ControlEvent) -> None:
    ledger = session.ledger
    match event:
        case ev.RunQueued(run=run, trigger=trigger, time=time, by=by):
            ledger.born[run] = time
            if by not in (None, subject_of(session.owner)):
                ledger.begun_by[run] = by
            oldest = time_text(time_seconds(time) - ORPHAN_MEMORY_S)
            ledger.orphans = [o for o in ledger.orphans if o.since > oldest]
            if trigger in ledger.unread:  # its run sees the steering before it as well
                ledger.unread = ledger.unread[ledger.unread.index(trigger) + 1 :]
        case ev.RunStarted(run=run):
            ledger.losses = 0
            started = session.state.run
            assert started is not None, "the state has folded it"
            ledger.unread = [m for m in ledger.unread if m != started.trigger]
        case ev.RunRetrying():
            ledger.losses += 1
        case ev.RunCompleted(run=run) | ev.RunFailed(run=run) | ev.RunCancelled(run=run):
            ledger.born.pop(run, None)
            ledger.begun_by.pop(run, None)
            if session.state.live_run is None:
                ledger.asked = []
            approvals = session.state.approvals
            for approval in [a for a in ledger.shown if _run_of(approvals.get(a)) in (run, None)]:
                del ledger.shown[approval]
            gone = [c for c in ledger.children.values() if c.parent == run]
            ledger.orphans += [Orphan(c.session, c.run, event.time) for c in gone]
            for child in gone:
                del ledger.children[child.run]
        case _:
            pass


def _note_call(session: Session, event: ev.ControlEvent) -> None:
    ledger = session.ledger
    match event:
        case ev.ToolCallStarted(call=call, time=time):
            ledger.open_calls[call] = OpenCall(time)
        case ev.ToolCallRequested(call=call, time=time, name=name, target=target, run=run):
            tools = session.state.tools if target == "client" else []
            idempotent = any(t.idempotent for t in tools if t.name == name)
            holder = ledger.begun_by.get(run, "")
            ledger.open_calls[call] = OpenCall(time, idempotent, holder=holder)
        case ev.ToolCallClaimed(call=call, by=by):
            if (known := ledger.open_calls.get(call)) is not None:
                known.holder = by or ""
        case ev.ToolCallReleased(call=call, time=time, reason=reason):
            known = ledger.open_calls.get(call)
            if known is not None:
                known.since, known.released = time, reason == "lease_expired"
        case ev.ToolCallCompleted(call=call):
            ledger.open_calls.pop(call, None)
            ledger.losses = 0
        case _:
            pass


def _note_child(ledger: Ledger, event: ev.RunChild) -> None:
    if event.status == "started":
        child = Child(event.child_session, event.child_run, event.agent, event.run, event.call)
        ledger.children[event.child_run] = child
    else:
        ledger.children.pop(event.child_run, None)


def _forget_dropped(session: Session) -> None:
    """Calls, approvals and steering of messages that are gone."""
    ledger, state = session.ledger, session.state
    ledger.open_calls = {k: c for k, c in ledger.open_calls.items() if k in state.calls}
    ledger.open_approvals = [a for a in ledger.open_approvals if a in state.approvals]
    ledger.unread = [m for m in ledger.unread if state.message(m) is not None]
