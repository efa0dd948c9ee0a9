"""What a model streams over an OpenAI-compatible `/chat/completions`, in one spelling.

Sans-I/O: bytes of the response in, deltas out, in the order the provider sent them. The dialects
of the providers end here: reasoning as `reasoning`, `reasoning_content`, `reasoning_details` or
typed content; calls counted from 0, from 1 or not at all, their id once, each time or never; usage
in any chunk; errors in the middle of the stream; a missing `[DONE]`. What to do about a delta, and
which text is the answer, is not decided here.
"""

import json
from collections.abc import Iterator
from typing import Any, Literal, cast

from msgspec import Struct

from gateway.agents.sse import SseDecoder, SseEvent, SseTooLarge
from protocol.values import FinishReason, Usage

JsonObject = dict[str, Any]
ReasoningField = Literal["reasoning", "reasoning_content", "reasoning_details", "content"]


class ThinkingDelta(Struct, frozen=True):
    """Reasoning, and the field it came in."""

    text: str
    field: ReasoningField


class TextDelta(Struct, frozen=True):
    """Text of the answer, as far as the provider knows."""

    text: str


class CallStarted(Struct, frozen=True):
    """The model calls a tool. `index` counts 0, 1, 2 … in one response; `id` may be empty.

    `extra` is what else the provider put beside the call (signatures); it wants it back.
    """

    index: int
    id: str
    name: str
    extra: JsonObject


class CallArguments(Struct, frozen=True):
    """A piece of the JSON text of a call's arguments."""

    index: int
    text: str


class Finished(Struct, frozen=True):
    """Why the model stopped; a later one replaces an earlier one."""

    reason: FinishReason


class UsageSeen(Struct, frozen=True):
    """Tokens of the whole response so far; a later one replaces an earlier one."""

    usage: Usage


class ProviderData(Struct, frozen=True):
    """The provider's private data about its reasoning, to be sent back verbatim."""

    field: str
    value: list[JsonObject]


class ModelError(Struct, frozen=True):
    """The response failed; nothing follows. `code` is the provider's own, often empty."""

    code: str
    message: str


Delta = (
    ThinkingDelta
    | TextDelta
    | CallStarted
    | CallArguments
    | Finished
    | UsageSeen
    | ProviderData
    | ModelError
)

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "tool_calls": "stop",
    "tool_use": "stop",
    "function_call": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
}


class _Call:
    """A call while its pieces come; it is told of once its name is known."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.extra: JsonObject = {}
        self.started = False
        self.waiting = ""  # arguments that came before the name


class StreamReader:
    """Reads one response. After a `ModelError` or `[DONE]` whatever follows is ignored."""

    def __init__(self) -> None:
        self._sse = SseDecoder()
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}  # the provider's index -> the call it means now
        self._over = False
        self._finished = False
        self._streams = False

    @property
    def over(self) -> bool:
        """Whether the answer is complete, or failed: nothing that follows counts."""
        return self._over

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas in the next bytes of an event stream, cut anywhere."""
        try:
            return list(self._events(self._sse.feed(data)))
        except SseTooLarge as error:
            self._over = True
            return [ModelError("", str(error))]

    def end(self) -> list[Delta]:
        """The event stream is over: the last deltas, and an error if it was cut off."""
        if self._over:
            return []
        deltas = list(self._events(self._sse.end()))
        return [*deltas, *self._conclude()]

    def whole(self, body: bytes) -> list[Delta]:
        """The deltas of a response that is one JSON object: the provider did not stream."""
        deltas = list(self._chunk(body.decode(errors="replace")))
        return [*deltas, *self._conclude()]

    def _conclude(self) -> Iterator[Delta]:
        if not self._over and any(not call.started for call in self._calls):
            yield self._fail("", "The model called a tool without naming it.")
        if not self._over and not self._finished:
            yield self._fail("", "The model's stream ended before its answer did.")

    def _events(self, events: list[SseEvent]) -> Iterator[Delta]:
        for event in events:
            if self._over:
                return
            if event.data.strip() == "[DONE]":
                if not self._finished:
                    yield Finished("other")
                self._finished = True
                yield from self._conclude()
                self._over = True
            elif event.event == "error":
                yield self._fail("", _message(_loads(event.data) or event.data))
            else:
                yield from self._chunk(event.data)

    def _chunk(self, text: str) -> Iterator[Delta]:
        chunk = _loads(text)
        if chunk is None:
            yield self._fail("", f"The model sent something that is no JSON object: {text[:200]}")
            return
        choice = (_objects(chunk.get("choices")) or [{}])[0]
        error = chunk.get("error") or choice.get("error")
        yield from self._delta(self._said(choice))
        if (reason := choice.get("finish_reason")) and not error:
            self._finished = True
            yield Finished(_REASONS.get(str(reason).lower(), "other"))
        if (usage := _usage(_object(chunk.get("usage")))) is not None:
            yield UsageSeen(usage)
        if error:
            code = _object(error).get("code")
            yield self._fail("" if code is None else str(code), _message(error))

    def _said(self, choice: JsonObject) -> JsonObject:
        """The delta, or the whole message where none came before: else it only repeats them."""
        delta = choice.get("delta")
        self._streams = self._streams or isinstance(delta, dict)
        return _object(delta if self._streams else choice.get("message"))

    def _delta(self, delta: JsonObject) -> Iterator[Delta]:
        yield from _reasoning(delta)
        yield from _content(delta.get("content"))
        if refusal := _text(delta.get("refusal")):
            yield TextDelta(refusal)
        for piece in _objects(delta.get("tool_calls")):
            yield from self._call(piece)

    def _call(self, piece: JsonObject) -> Iterator[Delta]:
        function = _object(piece.get("function"))
        name = _text(function.get("name"))
        call = self._which(piece.get("index"), _text(piece.get("id")), name)
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if not call.started:
            call.id = call.id or _text(piece.get("id"))
            known = ("index", "id", "type", "function")
            call.extra |= {key: value for key, value in piece.items() if key not in known}
            call.waiting += arguments or ""
            if not name:
                return
            call.started = True
            arguments, call.waiting = call.waiting, ""
            yield CallStarted(call.index, call.id, name, call.extra)
        if arguments:
            yield CallArguments(call.index, arguments)

    def _which(self, index: Any, id_: str, name: str) -> _Call:
        """The call that a piece belongs to; a new one if it cannot be one that is known."""
        call: _Call | None
        if isinstance(index, int):
            call = self._by_index.get(index)
            # Some number every call 0 and tell them apart by id.
            if call is not None and name and id_ and call.id and call.id != id_:
                call = None
        elif id_:
            call = next((call for call in self._calls if call.id == id_), None)
        else:
            call = self._calls[-1] if self._calls and not name else None
        if call is None:
            call = _Call(len(self._calls))
            self._calls.append(call)
        if isinstance(index, int):
            self._by_index[index] = call
        return call

    def _fail(self, code: str, message: str) -> ModelError:
        self._over = True
        return ModelError(code, message)


def _reasoning(delta: JsonObject) -> Iterator[Delta]:
    """Several spellings of the same piece may stand side by side: the first one counts."""
    details = _objects(delta.get("reasoning_details"))
    if text := _text(delta.get("reasoning_content")):
        yield ThinkingDelta(text, "reasoning_content")
    elif text := _text(delta.get("reasoning")):
        yield ThinkingDelta(text, "reasoning")
    elif text := "".join(_text(d.get("text")) or _text(d.get("summary")) for d in details):
        yield ThinkingDelta(text, "reasoning_details")
    if details:
        yield ProviderData("reasoning_details", details)


def _content(content: Any) -> Iterator[Delta]:
    if text := _text(content):
        yield TextDelta(text)
    for part in _objects(content):
        if part.get("type") == "thinking":
            thinking = part.get("thinking")
            pieces = _objects(thinking)
            text = _text(thinking) or "".join(_text(piece.get("text")) for piece in pieces)
            if text:
                yield ThinkingDelta(text, "content")
        elif text := _text(part.get("text")):
            yield TextDelta(text)


def _usage(usage: JsonObject) -> Usage | None:
    counts = (
        usage.get("prompt_tokens", usage.get("input_tokens")),
        usage.get("completion_tokens", usage.get("output_tokens")),
    )
    if not any(isinstance(count, int) for count in counts):
        return None
    return Usage(*(max(0, count) if isinstance(count, int) else 0 for count in counts))


def _message(error: Any) -> str:
    """The text for people in an error object of any shape."""
    if isinstance(error, str):
        return error
    found = _object(error)
    inner = found.get("message") or found.get("error") or found.get("detail")
    return _message(inner) if inner else json.dumps(error, ensure_ascii=False)[:1000]


def error_message(body: str) -> str:
    """The text for people in the body of an HTTP error, which may be JSON or anything else."""
    found = _loads(body)
    return " ".join((body if found is None else _message(found)).split())[:1000]


def _loads(text: str) -> JsonObject | None:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("JsonObject", value) if isinstance(value, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def _objects(value: Any) -> list[JsonObject]:
    """The objects in a list; nothing for anything else."""
    if not isinstance(value, list):
        return []
    return [cast("JsonObject", item) for item in cast("list[Any]", value) if isinstance(item, dict)]
