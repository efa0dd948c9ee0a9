"""I1–I4: what each client saw against what is stored.

A subscription sees, from its `subscribed` on, every event that its detail allows, once, in order,
byte for byte; a `recovered: true` goes on exactly where the client was, anything else brings the
state at a seq, which must be the fold of the log up to it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from protocol.codec import decode_event, splice
from protocol.state import State, newest
from tests.faults.record import Frame, Log, Record, Violation

Logs = Mapping[tuple[str, str], Log]
"""By session and epoch; of a lost epoch there may be none."""

_encode = msgspec.json.Encoder().encode


@dataclass
class Place:
    """How far a client has read one session."""

    epoch: str
    cursor: int
    detail: str


class Sightings:
    """The judgement over one client; `owners` maps a session to its principal."""

    def __init__(self, record: Record, logs: Logs, owners: Mapping[str, str]) -> None:
        self._record = record
        self._logs = logs
        self._owners = owners
        self._found: list[Violation] = []
        # session -> how far it has read, over all connections
        self.places: dict[str, Place] = {}
        self._open: set[str] = set()  # the sessions this connection is subscribed to

    def judge(self) -> list[Violation]:
        """Every violation in what this client saw."""
        for lines in self._record.connections:
            self._open.clear()
            for line in lines:
                self._line(line)
        return self._found

    def behind(self) -> Iterator[Violation]:
        """What is stored and did not arrive, of subscriptions that see everything."""
        for session, place in self.places.items():
            log = self._logs.get((session, place.epoch))
            if log is None:
                yield self._violation("I1", session, f"still in the lost epoch {place.epoch}")
            elif place.detail == "full" and place.cursor != log.head:
                yield self._violation("I1", session, f"ended at {place.cursor} of {log.head}")

    def _violation(self, invariant: str, session: str, text: str) -> Violation:
        return Violation(invariant, f"{self._record.client} in {session}", text)

    def _broken(self, invariant: str, session: str, text: str) -> None:
        self._found.append(self._violation(invariant, session, text))

    def _line(self, line: str) -> None:
        frame: Frame = json.loads(line)
        session = frame.get("session")
        command = self._record.sent.get(frame.get("id", ""), {})
        if command.get("type") == "session.unsubscribe" and frame["type"] == "ok":
            self._open.discard(command["session"])
        if session is None or frame["type"] == "error":
            return
        if self._owners.get(session, self._record.principal) != self._record.principal:
            self._broken("I4", session, f"belongs to {self._owners[session]}: {line:.200}")
        elif frame["type"] == "subscribed":
            self._subscribed(session, frame)
        elif frame["type"] == "cursor":
            self._cursor(session, frame["seq"])
        elif "time" in frame:
            self._event(session, frame, line)

    def _subscribed(self, session: str, frame: Frame) -> None:
        place = self.places.get(session)
        if frame["recovered"]:
            self._resumed(session, frame, place)
        elif "state" not in frame:
            self._broken("I1", session, "not recovered and no state")
        else:
            self._state(session, frame)
        self.places[session] = Place(frame["epoch"], frame["seq"], frame["detail"])
        self._open.add(session)

    def _resumed(self, session: str, frame: Frame, place: Place | None) -> None:
        epoch, cursor = (place.epoch, place.cursor) if place else (frame["epoch"], 0)
        if epoch != frame["epoch"]:
            self._broken("I1", session, f"recovered from epoch {epoch} in {frame['epoch']}")
        elif frame["seq"] != cursor:
            invariant = "I1" if frame["seq"] > cursor else "I2"
            self._broken(invariant, session, f"was at {cursor}, recovered at {frame['seq']}")

    def _state(self, session: str, frame: Frame) -> None:
        """A state given in full is the fold of the log up to its seq."""
        log, seq = self._logs.get((session, frame["epoch"])), frame["seq"]
        if log is None or log.first != 1 or frame["detail"] != "full":
            return
        if seq > log.head:
            self._broken("I3", session, f"a state at {seq}, but the log ends at {log.head}")
            return
        expected = json.loads(_encode(newest(folded(log, seq))))
        got = frame["state"]
        different = [key for key in expected if expected[key] != got.get(key)]
        if different:
            wrong = {key: (expected[key], got.get(key)) for key in different}
            self._broken("I3", session, f"the state at {seq} is not the fold: {wrong}")

    def _cursor(self, session: str, seq: int) -> None:
        place = self._subscription(session, f"cursor {seq}")
        if place is None:
            return
        if place.detail == "full" and seq != place.cursor:
            self._broken("I1", session, f"the cursor jumped from {place.cursor} to {seq}")
        elif seq < place.cursor:
            self._broken("I2", session, f"the cursor went back from {place.cursor} to {seq}")
        place.cursor = seq

    def _event(self, session: str, frame: Frame, line: str) -> None:
        place = self._subscription(session, line)
        if place is None:
            return
        seq, first = frame["seq"], frame.get("from_seq", frame["seq"])
        if first <= place.cursor:
            self._broken("I2", session, f"at {place.cursor} came {first} to {seq} again")
        elif place.detail == "full" and first != place.cursor + 1:
            self._broken("I1", session, f"after {place.cursor} came {first}")
        place.cursor = max(seq, place.cursor)
        log = self._logs.get((session, place.epoch))
        if log is not None and place.detail == "full" and (wrong := altered(log, frame, line)):
            self._broken("I3", session, wrong)

    def _subscription(self, session: str, what: str) -> Place | None:
        if session not in self._open:
            self._broken("I4", session, f"nobody subscribed on this connection: {what:.200}")
            return None
        return self.places[session]


def altered(log: Log, frame: Frame, line: str) -> str | None:
    """How an event that a full subscription saw differs from the stored one; None: not at all."""
    seq, first = frame["seq"], frame.get("from_seq")
    if seq > log.head:
        return f"{seq} was seen, but the log ends at {log.head}"
    if (first or seq) < log.first:
        return None  # no longer kept
    if first is None:
        body = log.body(seq)
        assert body is not None
        expected = splice(body, log.session, seq).decode()
        return None if line == expected else f"stored {expected:.300}, seen {line:.300}"
    bodies = [json.loads(log.bodies[at - log.first]) for at in range(first, seq + 1)]
    merged = {**bodies[-1], "delta": "".join(b.get("delta", "") for b in bodies)}
    about = {(b["type"], b.get("message"), b.get("part"), b.get("kind")) for b in bodies}
    seen = {k: v for k, v in frame.items() if k not in ("session", "seq", "from_seq")}
    if len(about) == 1 and bodies[0]["type"] == "message.delta" and seen == merged:
        return None
    return f"{first} to {seq} are stored as {bodies!r:.500}, seen as {line:.300}"


def folded(log: Log, seq: int) -> State:
    """The fold of a log from its beginning up to a seq."""
    assert log.first == 1
    state = State(session=log.session, agent="", epoch=log.epoch, seq=0)
    for at, body in enumerate(log.bodies[:seq], 1):
        event = decode_event(body)
        if event is None:
            state.seq = at
        else:
            state.apply(event, at)
    return state
