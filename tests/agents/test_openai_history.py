"""What goes back to the provider: order, ids and private data, whatever became of a message."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pytest

from gateway.agents.openai_history import (
    CONTINUED,
    NO_OUTPUT,
    Conversation,
    ThinkingData,
    function_name,
    function_names,
    function_tools,
    merge_details,
    request_messages,
)
from gateway.runtime.history import HistoryCall, HistoryMessage
from protocol.values import (
    CommentaryPart,
    DataPart,
    ErrorInfo,
    FilePart,
    Part,
    SourcePart,
    TextPart,
    ThinkingPart,
    Tool,
    ToolCallPart,
)

MODEL = "model-1"


def said(
    *parts: Part,
    role: Literal["user", "assistant", "system"] = "assistant",
    mine: bool = True,
    calls: Sequence[HistoryCall] = (),
) -> HistoryMessage:
    """An assistant's message ends with its calls."""
    places = [ToolCallPart(call.id, call.provider) for call in calls]
    return HistoryMessage(
        id="m",
        role=role,
        parts=[*parts, *places],
        calls=list(calls),
        mine=mine and role == "assistant",
    )


def asked(*parts: Part | str) -> HistoryMessage:
    return said(*(TextPart(p) if isinstance(p, str) else p for p in parts), role="user")


def called(
    id_: str, arguments: Any = None, *, provider: dict[str, Any] | None = None, **fields: Any
) -> HistoryCall:
    return HistoryCall(
        id=id_,
        name=fields.pop("name", "look"),
        arguments={} if arguments is None else arguments,
        provider=None if provider is None else {"model": MODEL, **provider},
        **fields,
    )


def made(*messages: HistoryMessage, **options: Any) -> list[dict[str, Any]]:
    return request_messages(Conversation(messages=messages, model=MODEL, **options))


def test_questions_and_answers() -> None:
    assert made(
        said(TextPart("Be nice."), role="system"),
        asked("Hé", "and more"),
        said(ThinkingPart("Hm."), CommentaryPart("Well, "), TextPart("hello."), mine=False),
        said(ThinkingPart("only a thought"), mine=False),
        asked("Next"),
        system="You help.",
    ) == [
        {"role": "system", "content": "You help."},
        {"role": "system", "content": "Be nice."},
        {"role": "user", "content": "Hé\n\nand more"},
        {"role": "assistant", "content": "Well, hello."},
        {"role": "user", "content": "Next"},
    ]


def test_files_and_data_of_a_user() -> None:
    assert made(
        asked(
            "Look:",
            FilePart("https://x/a.png", "image/png"),
            FilePart("data:application/pdf;base64,AA", "application/pdf", "a.pdf"),
            FilePart("https://x/b.csv", "text/csv"),
            DataPart("point", {"x": 1}),
        ),
        said(SourcePart("https://x"), TextPart("Seen.")),
    ) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
                },
                {"type": "text", "text": "file (text/csv): https://x/b.csv"},
                {"type": "text", "text": '{"name":"point","value":{"x":1}}'},
            ],
        },
        {"role": "assistant", "content": "Seen."},
    ]


def test_calls_carry_the_providers_ids_and_are_followed_by_their_results() -> None:
    assert made(
        asked("Weather?"),
        said(
            CommentaryPart("I look."),
            calls=[
                called(
                    "c_1",
                    {"city": "Zürich"},
                    name="get.weather",
                    output="sunny",
                    provider={"id": "call_x"},
                ),
                called(
                    "c_2",
                    {"a": [1]},
                    output={"n": 1},
                    provider={"id": "call_y", "extra": {"extra_content": {"signature": "s"}}},
                ),
                called("c_3", error=ErrorInfo("tool.denied", "Not now.")),
            ],
        ),
        asked("And be quick."),
    ) == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {
                    "id": "call_x",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"city":"Zürich"}'},
                },
                {
                    "extra_content": {"signature": "s"},
                    "id": "call_y",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"a":[1]}'},
                },
                {
                    "id": "c_3",
                    "type": "function",
                    "function": {"name": "look", "arguments": "{}"},
                },
            ],
        },
        {"role": "tool", "tool_call_id": "call_x", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_y", "content": '{"n":1}'},
        {
            "role": "tool",
            "tool_call_id": "c_3",
            "content": '{"error":{"code":"tool.denied","message":"Not now."}}',
        },
        {"role": "assistant", "content": CONTINUED},
        {"role": "user", "content": "And be quick."},
    ]


def test_private_data_of_a_call_goes_to_its_own_model_only() -> None:
    provider = {"id": "x", "extra": {"signature": "s"}, "model": "another"}
    _, call, _ = made(asked("x"), said(calls=[called("c_1", [1], output=1, provider=provider)]))
    function = {"name": "look", "arguments": "{}"}
    assert call["tool_calls"] == [{"id": "x", "type": "function", "function": function}]


def test_files_of_a_result_follow_as_a_users_message() -> None:
    files = [FilePart("https://x/shot.png", "image/png")]
    *_, result, between, shown = made(
        asked("x"),
        said(calls=[called("c_1", files=files, name="shoot", provider={"id": "x"})]),
    )
    assert result == {"role": "tool", "tool_call_id": "x", "content": "null"}
    assert between == {"role": "assistant", "content": CONTINUED}
    assert shown == {
        "role": "user",
        "content": [
            {"type": "text", "text": "Files that shoot returned:"},
            {"type": "image_url", "image_url": {"url": "https://x/shot.png"}},
        ],
    }


@pytest.mark.parametrize(
    ("value", "text"), [("Do it", "Do it"), ({"task": 1}, '{"task":1}'), (0, "0")]
)
def test_a_run_that_was_started_by_an_input(value: Any, text: str) -> None:
    question = {"role": "user", "content": text}
    before = said(TextPart("Before."), mine=False)
    assert made(before, input=value) == [{"role": "assistant", "content": "Before."}, question]
    assert made(before, said(TextPart("Begun")), asked("And now?"), input=value) == [
        {"role": "assistant", "content": "Before."},
        question,
        {"role": "assistant", "content": "Begun"},
        {"role": "user", "content": "And now?"},
    ]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_plain_reasoning_goes_back_beside_calls(field: str) -> None:
    def step(*, mine: bool = True, **provider: Any) -> dict[str, Any]:
        call = called("c_1", output=1, provider={"id": "x", **provider})
        thoughts = ThinkingPart("I must "), ThinkingPart("look.")
        return made(asked("x"), said(*thoughts, mine=mine, calls=[call]))[1]

    assert step(reasoning=field)[field] == "I must look."
    assert step(reasoning=field, mine=False)[field] == "I must look.", "of an earlier question (A1)"
    assert field not in step(reasoning=field, model="another"), "of another model"
    assert field not in step(), "of a provider that does not name the field"
    assert field not in made(said(ThinkingPart("Hm."), TextPart("Yes.")))[0], "of an answer"


def test_typed_reasoning_goes_back_typed() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    calls = [called("c_1", output=1, provider={"id": "x", "reasoning": "content"})]
    thought = ThinkingPart("Hm.")
    both = said(thought, CommentaryPart("I look."), calls=calls)
    assert made(asked("x"), both)[1]["content"] == [thinking, {"type": "text", "text": "I look."}]
    assert made(asked("x"), said(thought, calls=calls))[1]["content"] == [thinking]


def test_private_reasoning_goes_back_verbatim_to_its_own_model() -> None:
    details = [{"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "index": 0}]

    def message(model: str) -> HistoryMessage:
        data = msgspec.to_builtins(ThinkingData(model, details))
        return said(ThinkingPart("", data), TextPart("Hello."), mine=False)

    answer = {"role": "assistant", "content": "Hello."}
    assert made(message(MODEL))[0] == {**answer, "reasoning_details": details}
    assert made(message("another"))[0] == answer
    assert made(said(ThinkingPart("", {"odd": 1}), TextPart("Hello.")))[0] == answer


def test_pieces_of_reasoning_details_are_joined() -> None:
    details: list[dict[str, Any]] = []
    for pieces in (
        [{"type": "reasoning.text", "text": "We ", "index": 0, "format": None}],
        [{"type": "reasoning.text", "text": "need", "index": 0, "format": "f"}],
        [{"type": "reasoning.text", "index": 0, "text": None, "signature": "sig"}],
        [{"type": "reasoning.text", "text": "anew", "index": 0}],
        [{"type": "reasoning.summary", "summary": "a", "index": 1}],
        [{"type": "reasoning.summary", "summary": "b", "index": 1}],
        [{"type": "reasoning.summary", "summary": "c", "index": 2}],
        [
            {"type": "reasoning.encrypted", "data": "x"},
            {"type": "reasoning.encrypted", "data": "y"},
        ],
    ):
        merge_details(details, pieces)
    assert details == [
        {
            "type": "reasoning.text",
            "text": "We need",
            "index": 0,
            "format": "f",
            "signature": "sig",
        },
        {"type": "reasoning.text", "text": "anew", "index": 0},
        {"type": "reasoning.summary", "summary": "ab", "index": 1},
        {"type": "reasoning.summary", "summary": "c", "index": 2},
        {"type": "reasoning.encrypted", "data": "x"},
        {"type": "reasoning.encrypted", "data": "y"},
    ]


def test_tools_are_offered_as_functions() -> None:
    schema = {"type": "object", "properties": {}}
    assert function_tools([Tool("page.scan", schema, ""), Tool("b", schema)]) == [
        {
            "type": "function",
            "function": {"name": "page_scan", "description": "", "parameters": schema},
        },
        {"type": "function", "function": {"name": "b", "parameters": schema}},
    ]


@pytest.mark.parametrize(
    ("name", "expected"), [("scan_ui", "scan_ui"), ("a.b:c/d@e", "a_b_c_d_e"), ("x" * 99, "x" * 64)]
)
def test_names_that_providers_take(name: str, expected: str) -> None:
    assert function_name(name) == expected


def test_calls_that_begin_a_conversation_follow_something() -> None:
    """What an earlier run was started with is not kept."""
    call = called("c_1", output=1)
    begun = made(said(calls=[call], mine=False), asked("And?"), system="You help.")
    assert [one["role"] for one in begun] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]


def test_a_step_without_thoughts_has_the_field_all_the_same() -> None:
    """A1: the model used the field in this conversation, so it wants it beside every call."""
    first = called("c_1", output=1, provider={"id": "x", "reasoning": "reasoning_content"})
    second = called("c_2", output=2, provider={"id": "y"})
    thinking = said(ThinkingPart("Hm."), calls=[first])
    _, one, _, two, _ = made(asked("x"), thinking, said(calls=[second]))
    assert (one["reasoning_content"], two["reasoning_content"]) == ("Hm.", "")


def test_nothing_of_a_users_right_after_a_result() -> None:
    """A2: after a Stop, with steering, with files; every call has its result first."""
    calls = [called("c_1", output=1), called("c_2", output=2)]
    roles = [one["role"] for one in made(asked("x"), said(calls=calls), asked("y"), asked("z"))]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "user", "user"]


def test_content_is_always_there_and_never_blank() -> None:
    """A11 and F3."""
    called_ = called("c_1", output="", provider={"id": "x"})
    _, step, result = made(asked("x"), said(TextPart("\n\n"), calls=[called_]))
    assert step["content"] is None
    assert result["content"] == NO_OUTPUT
    assert made(asked("x"), said(TextPart(" \n"))) == [{"role": "user", "content": "x"}]
    assert made(asked("  "), said(TextPart("Yes."))) == [{"role": "assistant", "content": "Yes."}]


def test_files_go_as_what_models_take() -> None:
    """F3: text as text, odd pictures not as pictures."""
    csv = FilePart("data:text/csv;base64,YSxi", "text/csv", "t.csv")
    svg = FilePart("data:image/svg+xml,%3Csvg%2F%3E", "image/svg+xml", "d.svg")
    bad = FilePart("data:text/plain;base64,!", "text/plain", "n.txt")
    far = FilePart("https://x/a.tiff", "image/tiff")
    (asked_,) = made(said(TextPart("See"), csv, svg, bad, far, role="user"))
    assert [one["type"] for one in asked_["content"]] == ["text", "text", "text", "file", "text"]
    assert asked_["content"][1]["text"] == "t.csv:\na,b"
    assert asked_["content"][2]["text"] == "d.svg:\n<svg/>"


@pytest.mark.parametrize("parameters", [{}, {"type": "object"}, {"properties": {"a": {}}}])
def test_schemas_are_complete(parameters: dict[str, Any]) -> None:
    """A12."""
    (sent,) = function_tools([Tool("ping", parameters)])
    assert sent["function"]["parameters"] == {"type": "object", "properties": {}, **parameters}


def test_no_two_functions_have_one_name() -> None:
    """A13: other letters, and names longer than a function's may be."""
    names = ["a.b", "a_b", "a b", "x" * 70, "x" * 80]
    sent = function_names(names)
    assert list(sent) == names
    assert len(set(sent.values())) == len(names)
    assert all(len(name) <= 64 for name in sent.values())
    assert sent["a.b"] == "a_b"


def test_ids_are_unique() -> None:
    calls = [called(f"c_{n}", output=n, provider={"id": "same"}) for n in (1, 2)]
    _, step, *results = made(asked("x"), said(calls=calls))
    assert [one["id"] for one in step["tool_calls"]] == ["same", "c_2"]
    assert [one["tool_call_id"] for one in results] == ["same", "c_2"]
