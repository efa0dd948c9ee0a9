import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import events as ev
from protocol.codec import encode
from protocol.model import Approval, Call, Message, Run
from protocol.state import State, copy, fold, joined, newest
from protocol.values import Kind, TextPart, ToolCallPart
from tests.support.sessions import Log, plausible
from tests.support.values import of, soups


@given(plausible() | soups(), st.data())
def test_a_fold_goes_on_from_a_copy(log: Log, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(log)))
    whole = fold(State(session="s_1"), log)
    start = fold(State(session="s_1"), log[:k])
    before = encode(start)
    assert fold(copy(start), log[k:]) == whole
    assert encode(start) == before


@settings(max_examples=30)
@given(plausible() | soups(), st.data())
def test_joined_events_fold_to_the_same(log: Log, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(log)))
    state = fold(State(session="s_1"), log[:cut])
    together = fold(copy(state), joined(log[cut:]))
    assert together == fold(state, log[cut:])


def test_only_neighbours_of_one_text_are_joined() -> None:
    def said(message: str, part: int, kind: Kind, delta: str) -> ev.MessageDelta:
        return ev.MessageDelta(time=delta, message=message, part=part, kind=kind, delta=delta)

    events: list[ev.Event] = [
        said("m_1", 0, "text", "a"),
        said("m_1", 0, "text", "b"),
        said("m_1", 0, "thinking", "c"),
        said("m_1", 1, "thinking", "d"),
        said("m_2", 1, "thinking", "e"),
        ev.ToolCallDelta(time="f", call="m_2", delta="f"),
        ev.ToolCallDelta(time="g", call="m_2", delta="g"),
        ev.ToolCallDelta(time="h", call="c_1", delta="h"),
        ev.RunLog(time="i", run="r_1", level="info", text="i"),
        ev.ToolCallDelta(time="j", call="c_1", delta="j"),
        said("m_2", 1, "thinking", "k"),
    ]
    together = list(joined(enumerate(events, 1)))
    assert [(seq, getattr(event, "delta", "i")) for seq, event in together] == [
        (2, "ab"),
        (3, "c"),
        (4, "d"),
        (5, "e"),
        (7, "fg"),
        (8, "h"),
        (9, "i"),
        (10, "j"),
        (11, "k"),
    ]
    assert list(joined([])) == []


@given(of(State))
def test_a_copy_is_equal_and_shares_nothing(state: State) -> None:
    other = copy(state)
    assert other == state
    other.metadata["new"] = 1
    other.messages.append(message("m_new"))
    for run in other.queue:
        run.activity = "new"
    assert "new" not in state.metadata
    assert all(m.id != "m_new" for m in state.messages)
    assert all(r.activity != "new" for r in state.queue)


@given(plausible())
def test_seq_is_the_cursor(log: Log) -> None:
    state = State(session="s_1")
    for seq, event in log:
        state.apply(event, seq)
        assert state.seq == seq
    assert msgspec.json.decode(encode(state), type=State) == state


# --- newest


def message(name: str, run: str | None = None, text: str = "", **fields: str) -> Message:
    """A complete message."""
    status = fields.get("status", "complete")
    made = Message(id=name, role="assistant", status="complete", time="t", parts=[TextPart(text)])
    made.status, made.run = ("open" if status == "open" else "complete"), run
    return made


def call(name: str, of_message: str, open_: bool = False, output: str = "") -> Call:
    return Call(
        id=name,
        run="r_1",
        message=of_message,
        name="pick",
        target="client",
        arguments={},
        status="claimed" if open_ else "completed",
        output=output,
    )


def approval(name: str, run: str, of_call: str | None, closed: bool = True) -> Approval:
    decision = "approve" if closed else None
    return Approval(id=name, run=run, title="t", deadline="t", call=of_call, decision=decision)


def state_of(*messages: Message, run: Run | None = None) -> State:
    return State(session="s_1", messages=list(messages), run=run)


def live(name: str = "r_1") -> Run:
    return Run(id=name, status="running", attempt=1, seq=1)


def kept(state: State) -> list[str]:
    return [m.id for m in state.messages]


def test_all_of_a_small_session_is_new() -> None:
    state = state_of(message("m_1"), message("m_2"))
    assert newest(state, 2) is state
    assert not newest(state, 2).more
    empty = state_of()
    assert newest(empty, 0) is empty


def test_at_most_so_many_messages() -> None:
    state = state_of(*(message(f"m_{i}") for i in range(5)))
    cut = newest(state, 2)
    assert kept(cut) == ["m_3", "m_4"]
    assert cut.more
    assert not state.more
    assert kept(newest(state, 0)) == []
    assert newest(state, 0).more


def test_the_live_run_is_never_cut_by_count() -> None:
    said = [message("m_1", "r_0"), message("m_2", "r_1"), message("m_3"), message("m_4", "r_1")]
    assert kept(newest(state_of(*said, run=live()), 1)) == ["m_2", "m_3", "m_4"]
    ended = Run(id="r_1", status="completed", attempt=1, seq=1)
    assert kept(newest(state_of(*said, run=ended), 1)) == ["m_4"]
    assert kept(newest(state_of(*said, run=live("r_2")), 1)) == ["m_4"]


def test_at_most_so_many_bytes_with_the_results_of_calls() -> None:
    said = [message(f"m_{i}", text="x" * 100) for i in range(5)]
    assert kept(newest(state_of(*said), max_bytes=500)) == ["m_3", "m_4"]
    state = state_of(*said)
    state.calls = {"c_1": call("c_1", "m_4", output="y" * 400)}
    assert kept(newest(state, max_bytes=500)) == []
    state.calls = {"c_1": call("c_1", "m_0", output="y" * 400)}
    assert kept(newest(state, max_bytes=500)) == ["m_3", "m_4"]


def test_the_live_run_is_cut_by_bytes_but_not_the_open_message() -> None:
    said = [message(f"m_{i}", "r_1", "x" * 100) for i in range(5)]
    said.append(message("m_9", "r_1", "z" * 1000, status="open"))
    assert kept(newest(state_of(*said, run=live()), max_bytes=100)) == ["m_9"]
    assert kept(newest(state_of(*said, run=live()), max_bytes=500)) == ["m_3", "m_4", "m_9"]


def test_everything_since_the_oldest_open_call() -> None:
    said = [message(f"m_{i}", "r_1", "x" * 100) for i in range(5)]
    state = state_of(*said, run=live())
    state.calls = {"c_1": call("c_1", "m_2", open_=True), "c_2": call("c_2", "m_1")}
    assert kept(newest(state, 1, max_bytes=10)) == ["m_2", "m_3", "m_4"]


def test_calls_and_approvals_go_with_their_messages() -> None:
    state = state_of(message("m_1", "r_0"), message("m_2", "r_1"), run=live())
    state.messages[1].parts = [ToolCallPart("c_2")]
    state.calls = {"c_1": call("c_1", "m_1"), "c_2": call("c_2", "m_2")}
    closed = {
        "old call": approval("old call", "r_0", "c_1"),
        "new call": approval("new call", "r_1", "c_2"),
        "old run": approval("old run", "r_0", None),
        "live run": approval("live run", "r_1", None),
        "open": approval("open", "r_0", "c_1", closed=False),
    }
    state.approvals = closed
    cut = newest(state, 1)
    assert list(cut.calls) == ["c_2"]
    assert list(cut.approvals) == ["new call", "live run", "open"]
    assert state.approvals is closed


@given(plausible(), st.integers(0, 5), st.integers(0, 3000))
def test_newest_is_an_end_of_the_messages(log: Log, messages: int, max_bytes: int) -> None:
    state = fold(State(session="s_1"), log)
    cut = newest(state, messages, max_bytes)
    assert state.messages[len(state.messages) - len(cut.messages) :] == cut.messages
    assert cut.more == (len(cut.messages) < len(state.messages))
    ids = {m.id for m in cut.messages}
    assert all(c.message in ids for c in cut.calls.values())
    assert {k for k, c in state.calls.items() if c.status != "completed"} <= set(cut.calls)
    assert {k for k, a in state.approvals.items() if a.decision is None} <= set(cut.approvals)
