"""The tables of the decider are whole: every command and every step has its function."""

import pytest

from gateway.sessions import inputs
from gateway.sessions.decide import decide_command, decide_step
from protocol import commands as cmd
from protocol.errors import ProtocolError
from tests.sessions.bench import READ, Bench, origin


def every_command(bench: Bench) -> list[cmd.DecidedCommand]:
    return [
        cmd.SessionUpdate(id="k_1", session="s_1", metadata={"a": 1}),
        cmd.SessionDelete(id="k_2", session="s_1"),
        cmd.MessageSend(id="k_3", session="s_1", content="x", if_busy="steer"),
        cmd.RunStart(id="k_4", session="s_1", if_busy="enqueue"),
        cmd.RunInterrupt(id="k_5", session="s_1"),
        bench.claiming("c_1"),
        bench.renewing("c_1"),
        bench.resulting("c_1"),
        bench.responding("ap_1", "approve"),
    ]


def waiting() -> Bench:
    bench = Bench(READ)
    bench.running()
    bench.call("read_heading")
    bench.ask()
    return bench


def test_every_command_but_create_is_decided() -> None:
    commands = every_command(Bench())
    assert {type(c) for c in commands} == {*cmd.DecidedCommand.__args__} - {cmd.SessionCreate}
    for command in commands:
        bench = waiting()
        assert bench.command(command).events, command


def test_every_step_is_decided() -> None:
    error = inputs.ErrorInfo("agent.failed", "x")
    steps: list[inputs.AnyStep] = [
        inputs.ClaimRun(resume="replay", lost=False),
        inputs.StartMessage(message="m_9"),
        inputs.RequestCalls(message="m_9", calls=[]),
        inputs.AskApproval(approval="ap_9", title="x"),
        inputs.ChildStep(child_session="s_2", child_run="r_9", agent="a", status="started"),
        inputs.UpdateSession(metadata={"a": 1}),
        inputs.CompleteRun(),
        inputs.FailRun(error=error),
    ]
    needy: list[inputs.AnyStep] = [
        inputs.StartCall(call="c_9", part=0, name="x", target="server"),
        inputs.EndMessage(message="m_3"),
        inputs.ServerResult(call="c_9"),
    ]
    assert {type(s) for s in (*steps, *needy)} == {*inputs.AnyStep.__args__}
    for step in steps:
        assert waiting().step(step).events, step
    bench = waiting()
    bench.message()
    for step in (
        needy[0],
        inputs.EndMessage(
            message="m_3",
            calls=[inputs.CallRequest(call="c_9", name="x", arguments={}, target="server")],
        ),
        needy[2],
    ):
        assert bench.step(step).events, step


def test_a_decision_is_folded_into_the_session_given() -> None:
    bench = Bench()
    command = cmd.MessageSend(id="k", session="s_1", content="x")
    decision = decide_command(
        bench.session, command, origin(), now=bench.clock(), new_id=bench.ids, rules=bench.rules
    )
    assert bench.state.seq == 1 + len(decision.events)
    step = inputs.ClaimRun(resume="none", lost=False)
    decide_step(bench.session, step, now=bench.clock(), new_id=bench.ids, rules=bench.rules)
    assert bench.state.run.status == "running"


def test_a_refusal_is_a_protocol_error() -> None:
    bench = Bench()
    with pytest.raises(ProtocolError):
        bench.command(bench.claiming("c_1"))
