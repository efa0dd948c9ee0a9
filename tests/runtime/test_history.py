"""The history an agent sees: what is whole, with every call's result where a model wants it."""

from typing import Any

from gateway.runtime.history import history, one_of_history
from protocol.model import Call, Message, Run, StateData
from protocol.values import HIDDEN, ErrorInfo, TextPart, ToolCallPart

RUN = Run(id="r_2", status="running", attempt=1, seq=9, trigger="m_3")


def message(name: str, role: Any = "assistant", **fields: Any) -> Message:
    defaults: dict[str, Any] = {"status": "complete", "time": "", "parts": [TextPart(name)]}
    return Message(id=name, role=role, **{**defaults, **fields})


def call(name: str, **fields: Any) -> Call:
    defaults: dict[str, Any] = {
        "run": "r_2",
        "message": "m_4",
        "name": "scan",
        "target": "client",
        "arguments": {"a": 1},
        "status": "completed",
    }
    return Call(id=name, **{**defaults, **fields})


def state(*messages: Message, **calls: Call) -> StateData:
    return StateData(session="s_1", messages=list(messages), calls=calls, run=RUN)


def test_only_whole_messages() -> None:
    seen = history(
        state(
            message("m_1", "user"),
            message("m_2", status="interrupted", run="r_1"),
            message("m_3", "user"),
            message("m_4", status="failed", run="r_2"),
            message("m_5", run="r_2"),
            message("m_6", status="open", run="r_2"),
        ),
        RUN,
    )
    assert [(m.id, m.interrupted, m.mine) for m in seen] == [
        ("m_1", False, False),
        ("m_2", True, False),
        ("m_3", False, False),
        ("m_5", False, True),
    ]


def test_one_message_is_what_the_whole_history_says_of_it() -> None:
    """F16: a turn does not pay for all that was said before."""
    place = state(
        message("m_1", "user"),
        message("m_2", parts=[TextPart("x"), ToolCallPart("c_1")], run="r_2"),
        message("m_3", status="failed"),
        message("m_4", status="open", run="r_2"),
        c_1=call("c_1"),
    )
    whole = {m.id: m for m in history(place, RUN)}
    for id_ in ("m_1", "m_2", "m_3", "m_4", "m_5"):
        assert one_of_history(place, RUN, id_) == whole.get(id_)


def test_results_come_before_what_was_said_while_the_calls_were_open() -> None:
    calls = message(
        "m_4",
        run="r_2",
        parts=[
            TextPart("Wait."),
            HIDDEN,
            ToolCallPart("c_1", {"id": "x"}),
            ToolCallPart("c_2"),
            ToolCallPart("c_3"),
        ],
    )
    error = ErrorInfo("tool.denied", "No.")
    seen = history(
        state(
            message("m_3", "user"),
            calls,
            message("m_5", "user"),
            c_1=call("c_1", output="one"),
            c_2=call("c_2", error=error, arguments='{"a":'),
            c_3=call("c_3", status="claimed"),
        ),
        RUN,
    )
    assert [m.id for m in seen] == ["m_3", "m_4", "m_5"]
    first, second = seen[1].calls
    assert (first.output, first.provider, first.arguments) == ("one", {"id": "x"}, {"a": 1})
    assert (second.error, second.arguments) == (error, {})
    assert [p for p in seen[1].parts if isinstance(p, ToolCallPart)] == [
        ToolCallPart("c_1", {"id": "x"}),
        ToolCallPart("c_2"),
    ]
    assert seen[1].text == "Wait."


def test_a_replayed_agent_sees_its_start_and_what_it_passed() -> None:
    messages = [
        message("m_1", "user"),
        message("m_3", "user"),
        message("m_4", run="r_2"),
        message("m_5", "user"),
        message("m_6", run="r_2"),
    ]
    assert [m.id for m in history(state(*messages), RUN, ["m_4"])] == ["m_1", "m_3", "m_4"]
    no_trigger = Run(id="r_2", status="running", attempt=1, seq=9)
    assert [m.id for m in history(state(*messages), no_trigger, [])] == ["m_1", "m_3"]
    assert [m.id for m in history(state(messages[0]), no_trigger, [])] == ["m_1"]
