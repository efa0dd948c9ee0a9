"""Filter then fold is fold then filter, and nothing leaves that may not: over whole sessions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import events as ev
from protocol.codec import decode_event, encode
from protocol.detail import LEVELS, View
from protocol.state import Run, State, copy, fold
from protocol.values import Detail
from tests.support.sessions import CLIENT_TOOLS, NEVER, Log, plausible, secrets
from tests.support.values import builtins, soups

details = st.sampled_from(sorted(LEVELS))
tools = st.lists(st.sampled_from([*CLIENT_TOOLS, "*", "other"]), max_size=2)


def known(state: State, call: str) -> tuple[str, str] | None:
    found = state.calls.get(call)
    return None if found is None else (found.name, found.target)


class Subscription:
    """What a client folds of the events that leave, beside what the server has."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.server, self.client = State(session="s_1"), State(session="s_1")
        # A wait that something hidden ends silently looks unended until the run's next visible
        # sign of life, which then clears an activity set since (docs/protocol.md, Detail).
        self.ended_unseen = False
        self.left: list[bytes] = []

    def event(self, event: ev.Event, seq: int) -> None:
        seen = self.view.event(event, lambda call: known(self.server, call))
        before = waits(self.server.run)
        self.server.apply(event, seq)
        if seen is None:
            self.ended_unseen |= before is not None and before != waits(self.server.run)
            return
        self.left.append(encode(seen))
        received = decode_event(self.left[-1])
        assert received == seen
        self.client.apply(seen, seq)

    def assert_agrees(self) -> None:
        filtered = self.view.state(self.server)
        self.left.append(encode(filtered))
        theirs, ours = builtins(self.client), builtins(filtered)
        del theirs["seq"], ours["seq"]
        if theirs == ours:
            self.ended_unseen = False
        if self.ended_unseen:
            still_waits = waits(self.client.run) is not None
            for run in (theirs["run"], ours["run"]):
                run.pop("activity", None)
                if still_waits:
                    run.pop("on", None)
                    run["status"] = "live"
        assert theirs == ours


def waits(run: Run | None) -> list[str] | None:
    return None if run is None else run.on


@given(plausible(), details, tools)
def test_fold_of_filtered_is_filtered_fold(log: Log, detail: Detail, declared: list[str]) -> None:
    subscription = Subscription(View(detail, declared))
    for seq, event in log:
        subscription.event(event, seq)
        subscription.assert_agrees()


@given(plausible(), details, tools)
def test_nothing_leaves_that_is_hidden(log: Log, detail: Detail, declared: list[str]) -> None:
    view = View(detail, declared)
    subscription = Subscription(view)
    for seq, event in log:
        subscription.event(event, seq)
        subscription.assert_agrees()
    for level, tool in secrets(b"".join(subscription.left).decode()):
        assert level != NEVER
        assert level <= view.level or (tool and view.declared(tool, "client"))


@given(soups(), details, tools)
def test_any_soup_can_be_filtered(log: Log, detail: Detail, declared: list[str]) -> None:
    view, state = View(detail, declared), State(session="s_1")
    for seq, event in log:
        seen = view.event(event, lambda call: known(state, call))
        state.apply(event, seq)
        before = encode(copy(state))
        assert b'"provider":' not in encode(view.state(state))
        assert encode(state) == before
        if seen is not None:
            assert decode_event(encode(seen)) == seen
            assert seen.time == event.time


@pytest.mark.parametrize("detail", sorted(LEVELS))
@given(log=plausible(), data=st.data())
def test_what_left_shares_nothing(detail: Detail, log: Log, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(log)))
    state = fold(State(session="s_1"), log[:k])
    view = View(detail)
    left, before = encode(view.state(state)), encode(state)
    fold(view.state(state), log[k:])
    assert encode(state) == before
    assert encode(view.state(state)) == left
