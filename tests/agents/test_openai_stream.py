"""Every spelling of a model's stream becomes the same deltas."""

import json
import random
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from gateway.agents.openai_calls import MAX_CALLS, CallArguments, CallStarted
from gateway.agents.openai_stream import (
    MAX_ANSWER_CHARACTERS,
    Delta,
    Finished,
    ModelError,
    ProviderData,
    StreamReader,
    TextDelta,
    ThinkingDelta,
    UsageSeen,
    error_message,
)
from gateway.agents.sse import MAX_EVENT_BYTES
from protocol.values import Usage
from tests.support import recordings


def sse(*chunks: Any, done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def calls(*pieces: dict[str, Any]) -> dict[str, Any]:
    return delta(tool_calls=list(pieces))


def piece(arguments: Any = None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {**fields, "type": "function", "function": function}


def read(data: bytes, size: int = 1 << 30) -> list[Delta]:
    reader = StreamReader()
    deltas: list[Delta] = []
    for i in range(0, len(data), size):
        deltas += reader.feed(data[i : i + size])
    return deltas + reader.end()


STOP = delta("stop")
END = Finished("stop")

EXAMPLES: dict[str, tuple[bytes, list[Delta]]] = {
    "text": (
        sse(delta(role="assistant", content=""), delta(content="Hé"), delta(content="llo"), STOP),
        [TextDelta("Hé"), TextDelta("llo"), END],
    ),
    "comments between": (
        b": PROCESSING\n\n: PROCESSING\n\n" + sse(delta(content="a"), STOP),
        [TextDelta("a"), END],
    ),
    "reasoning": (
        sse(delta(reasoning="r", content=""), delta(reasoning=None, content="a"), STOP),
        [ThinkingDelta("r", "reasoning"), TextDelta("a"), END],
    ),
    "reasoning_content": (
        sse(delta(reasoning_content="r", content=None), STOP),
        [ThinkingDelta("r", "reasoning_content"), END],
    ),
    "two spellings of one piece": (
        sse(
            delta(
                reasoning_content="r",
                reasoning="r",
                reasoning_details=[{"type": "reasoning.text", "text": "r"}],
            ),
            STOP,
        ),
        [
            ThinkingDelta("r", "reasoning_content"),
            ProviderData("reasoning_details", [{"type": "reasoning.text", "text": "r"}]),
            END,
        ],
    ),
    "reasoning_details alone": (
        sse(
            delta(
                reasoning_details=[
                    {"type": "reasoning.summary", "summary": "s"},
                    {"type": "reasoning.encrypted", "data": "xyz"},
                    {"type": "reasoning.text", "text": "t", "signature": "sig"},
                ]
            ),
            STOP,
        ),
        [
            ThinkingDelta("st", "reasoning_details"),
            ProviderData(
                "reasoning_details",
                [
                    {"type": "reasoning.summary", "summary": "s"},
                    {"type": "reasoning.encrypted", "data": "xyz"},
                    {"type": "reasoning.text", "text": "t", "signature": "sig"},
                ],
            ),
            END,
        ],
    ),
    "typed content": (
        sse(
            delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}]),
            delta(content=[{"type": "thinking", "thinking": "s"}, {"type": "text", "text": "a"}]),
            delta(content=[{"type": "thinking", "thinking": []}, {"type": "reference"}, "odd"]),
            STOP,
        ),
        [
            ThinkingDelta("r", "content"),
            ThinkingDelta("s", "content"),
            TextDelta("a"),
            TextDelta("odd"),
            END,
        ],
    ),
    "a refusal is the answer": (
        sse(delta(content=None, refusal="No."), delta("refusal")),
        [TextDelta("No."), Finished("content_filter")],
    ),
    "parallel calls": (
        sse(
            calls(piece("", "a", index=0, id="x")),
            calls(piece('{"n":', index=0)),
            calls(piece("", "b", index=1, id="y"), piece("1}", index=0)),
            calls(piece("{}", index=1)),
            delta("tool_calls"),
        ),
        [
            CallStarted(0, "x", "a", {}),
            CallArguments(0, '{"n":'),
            CallStarted(1, "y", "b", {}),
            CallArguments(0, "1}"),
            CallArguments(1, "{}"),
            END,
        ],
    ),
    "counted from 1, id repeated, then empty": (
        sse(
            calls(piece("", "a", index=1, id="x")),
            calls(piece("{", index=1, id="x")),
            calls(piece("}", index=1, id="")),
            STOP,
        ),
        [CallStarted(0, "x", "a", {}), CallArguments(0, "{"), CallArguments(0, "}"), END],
    ),
    "the name repeated": (
        sse(calls(piece("{", "a", index=0, id="x")), calls(piece("}", "a", index=0, id="x")), STOP),
        [CallStarted(0, "x", "a", {}), CallArguments(0, "{"), CallArguments(0, "}"), END],
    ),
    "every call is number 0": (
        sse(
            calls(piece("{}", "a", index=0, id="x")), calls(piece("[]", "b", index=0, id="y")), STOP
        ),
        [
            CallStarted(0, "x", "a", {}),
            CallArguments(0, "{}"),
            CallStarted(1, "y", "b", {}),
            CallArguments(1, "[]"),
            END,
        ],
    ),
    "no index but ids": (
        sse(
            calls(piece("{", "a", id="x"), piece("[", "b", id="y")),
            calls(piece("}", id="x")),
            calls(piece("]")),
            STOP,
        ),
        [
            CallStarted(0, "x", "a", {}),
            CallArguments(0, "{"),
            CallStarted(1, "y", "b", {}),
            CallArguments(1, "["),
            CallArguments(0, "}"),
            CallArguments(1, "]"),
            END,
        ],
    ),
    "neither index nor id": (
        sse(calls(piece({"n": 1}, "a"), piece(None, "a")), STOP),
        [
            CallStarted(0, "", "a", {}),
            CallArguments(0, '{"n": 1}'),
            CallStarted(1, "", "a", {}),
            END,
        ],
    ),
    "the name comes late": (
        sse(
            calls({"index": 0, "id": "x"}),
            calls(piece("{", index=0)),
            calls(piece("}", "a", index=0)),
            STOP,
        ),
        [CallStarted(0, "x", "a", {}), CallArguments(0, "{}"), END],
    ),
    "a signature beside the call": (
        sse(calls(piece("{}", "a", index=0, id="x", extra_content={"s": "sig"})), STOP),
        [CallStarted(0, "x", "a", {"extra_content": {"s": "sig"}}), CallArguments(0, "{}"), END],
    ),
    "usage null, in several chunks, without choices": (
        sse(
            {**delta(content="a"), "usage": None},
            {**STOP, "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}},
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": None}},
            {"choices": [], "usage": {"input_tokens": 5, "output_tokens": -1}},
            {"usage": {"total_tokens": 4}},
        ),
        [
            TextDelta("a"),
            END,
            UsageSeen(Usage(3, 1)),
            UsageSeen(Usage(3, 0)),
            UsageSeen(Usage(5, 0)),
        ],
    ),
    "[DONE] is missing": (sse(delta(content="a"), STOP, done=False), [TextDelta("a"), END]),
    "the last newline is missing": (
        sse(delta(content="a"), STOP, done=False).rstrip(),
        [TextDelta("a"), END],
    ),
    "no reason but [DONE]": (sse(delta(content="a")), [TextDelta("a"), Finished("other")]),
    "nothing after [DONE]": (
        sse(STOP) + sse(delta(content="more"), {"error": "late"}),
        [END],
    ),
    "cut off": (
        sse(delta(content="a"), done=False),
        [TextDelta("a"), ModelError("", "The model's stream ended before its answer did.")],
    ),
    "a call without a name": (
        sse(calls(piece("{}", index=0, id="x")), STOP),
        [END, ModelError("", "The model called a tool without naming it.")],
    ),
    "an error beside usage and choices": (
        sse(
            {
                **delta(content="a"),
                "error": {"code": 400, "message": "Token limit reached"},
                "usage": {"prompt_tokens": 1, "completion_tokens": 2},
            },
            delta(content="b"),
        ),
        [TextDelta("a"), UsageSeen(Usage(1, 2)), ModelError("400", "Token limit reached")],
    ),
    "an error in the choice": (
        sse({"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "Gone"}}]}),
        [ModelError("", "Gone")],
    ),
    "the whole message once more": (
        sse(
            delta(content="a"),
            calls(piece("{}", "f", index=0, id="x")),
            {
                "choices": [
                    {
                        "message": {"content": "a", "tool_calls": [piece("{}", "f", id="x")]},
                        "finish_reason": "tool_calls",
                    }
                ],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2},
            },
        ),
        [
            TextDelta("a"),
            CallStarted(0, "x", "f", {}),
            CallArguments(0, "{}"),
            END,
            UsageSeen(Usage(1, 2)),
        ],
    ),
    "an error that is a text": (sse({"error": "Busy"}), [ModelError("", "Busy")]),
    "an error of its own shape": (
        sse({"error": {"code": None, "why": ["x"]}}),
        [ModelError("", '{"code": null, "why": ["x"]}')],
    ),
    "an error event": (
        b'event: error\ndata: {"error": {"message": "Overloaded"}}\n\n',
        [ModelError("", "Overloaded")],
    ),
    "an error event in words": (
        b"event: error\ndata: Overloaded\n\n",
        [ModelError("", "Overloaded")],
    ),
    "no JSON": (
        b"data: <html>\n\n",
        [ModelError("", "The model sent something that is no JSON object: <html>")],
    ),
    "odd types are nothing": (
        sse(
            {"choices": "x"},
            {"choices": [7]},
            {"choices": [{"delta": None}]},
            delta(content=7, reasoning={"a": 1}, tool_calls="x"),
            STOP,
        ),
        [END],
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("size", [1 << 30, 1, 10])
def test_example(name: str, size: int) -> None:
    data, expected = EXAMPLES[name]
    assert read(data, size) == expected


@pytest.mark.parametrize(
    ("spelling", "reason"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("tool_calls", "stop"),
        ("length", "length"),
        ("MAX_TOKENS", "length"),
        ("content_filter", "content_filter"),
        ("no_such_reason", "other"),
    ],
)
def test_finish_reasons(spelling: str, reason: str) -> None:
    told = read(sse(delta(content="a"), delta(spelling)))
    assert [d.reason for d in told if isinstance(d, Finished)] == [reason]


@pytest.mark.parametrize("spelling", ["no_such_reason", "error", "ERROR"])
def test_a_failed_answer_is_no_empty_one(spelling: str) -> None:
    """A6."""
    (told,) = read(sse(delta(spelling)))
    assert isinstance(told, ModelError)


def test_calls_and_answers_without_end_are_refused() -> None:
    """S15: the step fails, and what follows is not kept."""
    many = sse(*[calls(piece("{}", "f", index=n, id=f"c{n}")) for n in range(MAX_CALLS + 1)])
    told = read(many)
    assert sum(isinstance(d, CallStarted) for d in told) == MAX_CALLS
    assert told[-1] == ModelError("", f"The model called more than {MAX_CALLS} tools in one step.")
    for field in ("content", "reasoning_content"):
        long = sse(*[delta(**{field: "x" * (MAX_ANSWER_CHARACTERS // 4)})] * 5)
        told = read(long)
        assert len(told) == 5
        assert isinstance(told[-1], ModelError), field
    arguments = "x" * (MAX_ANSWER_CHARACTERS // 4)
    told = read(sse(calls(piece("", "f", index=0)), *[calls(piece(arguments, index=0))] * 5))
    assert isinstance(told[-1], ModelError)


def test_a_response_in_one_piece() -> None:
    body = {
        "choices": [
            {
                "message": {
                    "role": "assistant",
                    "content": "a",
                    "tool_calls": [piece("{}", "f", id="x"), piece("{}", "g", id="y")],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    assert StreamReader().whole(json.dumps(body).encode()) == [
        TextDelta("a"),
        CallStarted(0, "x", "f", {}),
        CallArguments(0, "{}"),
        CallStarted(1, "y", "g", {}),
        CallArguments(1, "{}"),
        END,
        UsageSeen(Usage(1, 2)),
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "Bad key", "code": "k"}}', "Bad key"),
        (b"{}", "The model's stream ended before its answer did."),
        (b"<html>", "The model sent something that is no JSON object: <html>"),
    ],
)
def test_a_response_in_one_piece_that_failed(body: bytes, message: str) -> None:
    (error,) = StreamReader().whole(body)
    assert isinstance(error, ModelError)
    assert error.message == message


def test_a_chunk_that_never_ends() -> None:
    reader = StreamReader()
    (error,) = reader.feed(b"data: " + b"x" * (MAX_EVENT_BYTES + 1))
    assert isinstance(error, ModelError)
    assert "larger than" in error.message
    assert reader.end() == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"error": {"message": "No\\n  credit"}}', "No credit"),
        ('{"detail": "Not Found"}', "Not Found"),
        ('{"error": "nope"}', "nope"),
        ("<html>\n502</html>", "<html> 502</html>"),
        ("x" * 3000, "x" * 1000),
        ("", ""),
    ],
)
def test_the_text_of_an_http_error(body: str, text: str) -> None:
    assert error_message(body) == text


# --- recorded streams


class Heard:
    """What a stream said in the end."""

    def __init__(self, deltas: Iterable[Delta]) -> None:
        self.text = self.thinking = ""
        self.fields: set[str] = set()
        self.calls: list[tuple[str, str, Any]] = []
        self.provider: list[Any] = []
        self.usage: Usage | None = None
        self.finish = ""
        self.error: ModelError | None = None
        arguments: dict[int, str] = {}
        for delta in deltas:
            assert self.error is None, "nothing follows an error"
            match delta:
                case TextDelta():
                    self.text += delta.text
                case ThinkingDelta():
                    self.thinking += delta.text
                    self.fields.add(delta.field)
                case CallStarted():
                    assert delta.index == len(self.calls)
                    self.calls.append((delta.id, delta.name, None))
                    arguments[delta.index] = ""
                case CallArguments():
                    arguments[delta.index] += delta.text
                case Finished():
                    self.finish = delta.reason
                case UsageSeen():
                    self.usage = delta.usage
                case ProviderData():
                    self.provider += delta.value
                case ModelError():
                    self.error = delta
                case _:
                    raise AssertionError(f"in no recording: {delta}")
        self.calls = [
            (id_, name, json.loads(arguments[i])) for i, (id_, name, _) in enumerate(self.calls)
        ]


def recorded_strings(name: str, *, of: Callable[[dict[str, Any]], Any]) -> str:
    """The strings that `of` finds in each recorded delta, joined."""
    found: list[str] = []
    for line in recordings.stream(name).decode().splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                value = of(choice["delta"])
                found += [value] if isinstance(value, str) else []
    return "".join(found)


def content(delta: dict[str, Any]) -> Any:
    return delta.get("content")


def mistral_thinking(delta: dict[str, Any]) -> Any:
    value = content(delta)
    if not isinstance(value, list):
        return None
    parts = cast("list[dict[str, Any]]", value)
    return "".join(text["text"] for part in parts for text in part.get("thinking", ()))


THINKING: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "deepseek-thinking": ("reasoning_content", lambda d: d.get("reasoning_content")),
    "deepseek-tool-call": ("reasoning_content", lambda d: d.get("reasoning_content")),
    "groq-reasoning": ("reasoning", lambda d: d.get("reasoning")),
    "mistral-thinking": ("content", mistral_thinking),
    "openrouter-error-mid-stream": ("reasoning", lambda d: d.get("reasoning")),
    "xai-tool-call": ("reasoning_content", lambda d: d.get("reasoning_content")),
}
CALLS: dict[str, list[tuple[str, str, Any]]] = {
    "alibaba-tool-call": [
        ("call_eee11723464a4b9eb8cee71d", "weather", {"location": "San Francisco"})
    ],
    "anthropic-compat-tool-call": [("toolu_sanitized", "read_file", {"path": "a.txt"})],
    "deepseek-tool-call": [
        ("call_00_ioIn7yN9p1ZOMNpDLwd4MgAF", "weather", {"location": "San Francisco"})
    ],
    "openai-agent-loop-1": [
        ("call_3rqTYrA6H21AYUaRGP4F66oq", "get_country", {}),
        ("call_Xw9XMKBJU48kAAd78WgIswDx", "get_product_name", {}),
    ],
    "openai-agent-loop-2": [
        ("call_Vz0Sie91Ap56nH0ThKGrZXT7", "get_weather", {"city": "Mexico City"})
    ],
    "xai-tool-call": [("call_79382389", "weather", {"location": "San Francisco"})],
}
USAGE = {
    "alibaba-tool-call": (295, 22),
    "azure-model-router": (15, 78),
    "deepseek-thinking": (6, 212),
    "deepseek-tool-call": (339, 83),
    "groq-reasoning": (17, 1107),
    "openai-agent-loop-1": (364, 40),
    "openai-agent-loop-2": (423, 15),
    "openai-agent-loop-3": (448, 49),
    "openai-text": (16, 300),
    "openrouter-error-mid-stream": (43, 10),
    "openrouter-reasoning": (9, 104),
    "xai-tool-call": (307, 26),
}


@recordings.needed
@pytest.mark.parametrize("name", recordings.NAMES)
def test_recording(name: str) -> None:
    heard = Heard(read(recordings.stream(name)))
    assert heard.text == recorded_strings(name, of=content)
    field, of = THINKING.get(name, ("", lambda _: None))
    assert heard.thinking == recorded_strings(name, of=of)
    assert heard.fields == ({field} if field else set())
    if name == "openai-agent-loop-3":
        ((id_, tool, arguments),) = heard.calls
        assert (id_, tool) == ("call_4kc6691zCzjPnOuEtbEGUvz2", "final_result")
        assert [a["answer"] for a in arguments["answers"]] == [
            "Mexico City",
            "Sunny",
            "Pydantic AI",
        ]
    else:
        assert heard.calls == CALLS.get(name, [])
    if name in USAGE:
        assert heard.usage == Usage(*USAGE[name])
    if name == "openrouter-error-mid-stream":
        assert heard.error == ModelError("400", "Token limit reached")
        assert heard.finish == "length"
    else:
        assert heard.error is None
        assert heard.finish == "stop"


@recordings.needed
def test_recorded_private_data_is_kept_verbatim() -> None:
    heard = Heard(read(recordings.stream("openrouter-reasoning")))
    (data,) = heard.provider
    assert data["type"] == "reasoning.encrypted"
    raw = recordings.stream("openrouter-reasoning").decode()
    assert json.dumps(data["data"]) in raw
    assert json.dumps(data["id"]) in raw


@recordings.needed
@pytest.mark.parametrize("name", recordings.NAMES)
def test_recording_cut_anywhere(name: str) -> None:
    data = recordings.stream(name)
    whole = read(data)
    for size in (1, 7, 4096):
        assert read(data, size) == whole
    places = random.Random(name)
    reader, deltas, rest = StreamReader(), list[Delta](), data
    while rest:
        size = places.randint(1, 3000)
        deltas += reader.feed(rest[:size])
        rest = rest[size:]
    assert deltas + reader.end() == whole
