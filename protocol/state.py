"""The state of a session: `state = fold(events)`.

A snapshot is the state at some seq, a resume is the events after a seq. No I/O and no clock.

A `State` is mutable and owned by whoever folds it; `copy` gives a state that can be folded on
without touching the first.
"""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import structs

from protocol import events as ev
from protocol.folds import FOLDS
from protocol.model import Approval, Call, Message, Run, StateData

__all__ = ["Approval", "Call", "Message", "Run", "State", "copy", "fold", "joined", "newest"]


class State(StateData, kw_only=True):
    """A session at `seq`."""

    def apply(self, event: ev.Event, seq: int) -> None:
        """Folds one event in; `seq` is the cursor after it."""
        fold = FOLDS.get(type(event))
        if fold is not None:
            fold(self, event, seq)
        self.seq = seq


_DELTAS = (ev.MessageDelta, ev.ToolCallDelta)


def joined(events: Iterable[tuple[int, ev.Event]]) -> Iterator[tuple[int, ev.Event]]:
    """`(seq, event)`s that fold to the same state, neighbouring deltas of one text as one.

    A text grows by copying it, so a long one is folded much faster in few pieces than in many.
    """
    last: tuple[int, ev.MessageDelta | ev.ToolCallDelta] | None = None
    texts: list[str] = []
    for seq, event in events:
        if isinstance(event, _DELTAS):
            if last is not None and _continues(last[1], event):
                texts.append(event.delta)
                last = seq, event
                continue
            if last is not None:
                yield last[0], _with_delta(last[1], texts)
            last, texts = (seq, event), [event.delta]
            continue
        if last is not None:
            yield last[0], _with_delta(last[1], texts)
            last = None
        yield seq, event
    if last is not None:
        yield last[0], _with_delta(last[1], texts)


def _continues(
    one: ev.MessageDelta | ev.ToolCallDelta, other: ev.MessageDelta | ev.ToolCallDelta
) -> bool:
    if isinstance(one, ev.MessageDelta):
        return (
            isinstance(other, ev.MessageDelta)
            and one.part == other.part
            and one.message == other.message
            and one.kind == other.kind
        )
    return isinstance(other, ev.ToolCallDelta) and one.call == other.call


def _with_delta(
    event: ev.MessageDelta | ev.ToolCallDelta, texts: list[str]
) -> ev.MessageDelta | ev.ToolCallDelta:
    return event if len(texts) == 1 else structs.replace(event, delta="".join(texts))


def fold(state: State, events: Iterable[tuple[int, ev.Event]]) -> State:
    """`state` after `(seq, event)`s, in order; changes and returns `state`."""
    for seq, event in events:
        state.apply(event, seq)
    return state


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(State).decode


def copy(state: State) -> State:
    """A state that shares nothing mutable with `state`."""
    return _decode(_encode(state))


MAX_STATE_BYTES = 256 * 1024
_json = msgspec.json.Encoder().encode


def newest(state: State, messages: int = 100, max_bytes: int = MAX_STATE_BYTES) -> State:
    """`state` with only the newest messages, as a subscription gets it; shares its values.

    At most `messages` of them, but all of the live run, and at most `max_bytes` of JSON with
    their calls, but for the open message, and everything since the oldest open call: a page
    that loads learns from its state what it may still do. Approvals go with their calls.
    """
    kept = _newest(state, messages, max_bytes)
    if kept == len(state.messages):
        return state
    seen = state.messages[len(state.messages) - kept :]
    ids = {m.id for m in seen}
    calls = {k: c for k, c in state.calls.items() if c.message in ids}
    live = state.live_run.id if state.live_run is not None else None
    approvals = {
        k: a
        for k, a in state.approvals.items()
        if a.decision is None or (a.call in calls if a.call else a.run == live)
    }
    return structs.replace(state, messages=seen, more=True, calls=calls, approvals=approvals)


def _newest(state: State, messages: int, max_bytes: int) -> int:
    """How many messages `newest` keeps."""
    calls: dict[str, list[Call]] = {}
    for call in state.calls.values():
        calls.setdefault(call.message, []).append(call)
    needed = {c.message for c in state.calls.values() if c.status != "completed"}
    needed |= {m.id for m in state.messages if m.status == "open"}
    live = state.live_run.id if state.live_run is not None else None
    kept = size = 0
    for seen, message in enumerate(reversed(state.messages), 1):
        if message.status != "open":
            size += len(_json(message))
        size += sum(len(_json(c)) for c in calls.get(message.id, ()))
        small = size <= max_bytes
        wanted = seen <= messages or (live is not None and message.run == live)
        if message.id in needed or (small and wanted):
            kept = seen
        needed.discard(message.id)
        # nothing older can be of the live run once a message of an earlier run is passed
        older = seen >= messages and (live is None or message.run not in (None, live))
        if not needed and (older or not small):
            break
    return kept
