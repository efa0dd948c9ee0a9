from protocol.model import Call, Message, Run, StateData
from protocol.values import TextPart


def run(name: str, status: str = "running") -> Run:
    return Run(id=name, status=status, attempt=0, seq=1)  # pyright: ignore[reportArgumentType]


def message(name: str, text: str) -> Message:
    parts = [TextPart(text)]
    return Message(id=name, role="user", status="complete", time="t", parts=list(parts))


def test_a_run_is_live_while_it_runs_or_waits() -> None:
    live = {
        s
        for s in ("queued", "running", "waiting", "completed", "failed", "cancelled")
        if run("r", s).live
    }
    assert live == {"running", "waiting"}


def test_the_live_run() -> None:
    state = StateData(session="s_1")
    assert state.live_run is None
    state.run = run("r_1")
    assert state.live_run is state.run
    state.run = run("r_1", "completed")
    assert state.live_run is None


def test_runs_are_found_wherever_they_are() -> None:
    state = StateData(session="s_1", run=run("r_1"), queue=[run("r_2"), run("r_3")])
    assert state.run_of("r_1") is state.run
    assert state.run_of("r_3") is state.queue[1]
    assert state.run_of("r_4") is None
    assert (state.queued_at("r_3"), state.queued_at("r_1")) == (1, None)


def test_messages_are_found_from_the_newest() -> None:
    state = StateData(session="s_1", messages=[message("m_1", "old"), message("m_1", "new")])
    assert state.message("m_1") is state.messages[1]
    assert state.message("m_2") is None


def test_states_share_no_defaults() -> None:
    one, other = StateData(session="s_1"), StateData(session="s_1")
    one.messages.append(message("m_1", "a"))
    one.calls["c_1"] = Call(
        id="c_1", run="r", message="m", name="n", target="client", arguments="", status="streaming"
    )
    assert (other.messages, other.calls) == ([], {})
