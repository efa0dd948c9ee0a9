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

from gateway.agents.openai_calls import (
    CallArguments,
    CallAssembly,
    CallDelta,
    CallRepeated,
    TooManyCalls,
)
from gateway.agents.sse import SseDecoder, SseEvent, SseTooLarge
from protocol.values import FilePart, FinishReason, SourcePart, Usage

JsonObject = dict[str, Any]
ReasoningField = Literal[
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "reasoning_text",
    "thinking",
    "thinking_blocks",
    "content",
]

MAX_ANSWER_CHARACTERS = 8 * 1024 * 1024
"""Text, thinking and arguments of one response; no model's limit of tokens is near it."""
MAX_SOURCES = 256
"""Different sources of one response."""
_IMAGE_TYPE = "image/png"


class ThinkingDelta(Struct, frozen=True):
    """Reasoning, and the field it came in."""

    text: str
    field: ReasoningField


class TextDelta(Struct, frozen=True):
    """Text of the answer, as far as the provider knows."""

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


class PartSeen(Struct, frozen=True):
    """A whole part beside the text: a picture that the model made, or a source that it names."""

    content: FilePart | SourcePart


class ModelError(Struct, frozen=True):
    """The response failed; nothing follows. `code` is the provider's own, often empty."""

    code: str
    message: str


Delta = (
    ThinkingDelta
    | TextDelta
    | CallDelta
    | PartSeen
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


class StreamReader:
    """Reads one response. After a `ModelError` or `[DONE]` whatever follows is ignored."""

    def __init__(self) -> None:
        self._sse = SseDecoder()
        self._calls = CallAssembly()
        self._sources: set[str] = set()
        self._size = 0  # characters of text, thinking and arguments
        self._odd = ""  # the first data that was no JSON
        self._over = False
        self._finished = False
        self._streams = False
        self._said_something = False

    @property
    def over(self) -> bool:
        """Whether the answer is complete, or failed: nothing that follows counts."""
        return self._over

    @property
    def finished(self) -> bool:
        """Whether the model said why it stopped: what is lost after it does not matter."""
        return self._finished

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas in the next bytes of an event stream, cut anywhere."""
        try:
            return list(self._events(self._sse.feed(data)))
        except SseTooLarge as error:
            return [self._fail("", str(error))]

    def end(self) -> list[Delta]:
        """The event stream is over: the last deltas, and an error if it was cut off."""
        if self._over:
            return []
        deltas = list(self._events(self._sse.end()))
        return [*deltas, *self._conclude()]

    def whole(self, body: bytes) -> list[Delta]:
        """The deltas of a response that is one JSON object: the provider did not stream."""
        deltas = list(self._data(body.decode(errors="replace")))
        return [*deltas, *self._conclude()]

    def _conclude(self) -> Iterator[Delta]:
        if self._over:
            return
        if self._calls.nameless and not self._calls.started:
            yield self._fail("", "The model called a tool without naming it.")
        elif not self._finished:
            if self._odd and not self._said_something:
                yield self._fail(
                    "", f"The model sent something that is no JSON object: {self._odd}"
                )
            else:
                yield self._fail("", "The model's stream ended before its answer did.")

    def _events(self, events: list[SseEvent]) -> Iterator[Delta]:
        for event in events:
            if self._over:
                return
            text = event.data.strip()
            if event.event == "error":
                yield self._fail("", _message(_loads(text) or text))
            else:
                yield from self._data(text)

    def _data(self, text: str) -> Iterator[Delta]:
        """One event's data: JSON, the end, or what says nothing (a keep-alive)."""
        while text.startswith("data:"):  # a proxy put its own before it
            text = text[5:].lstrip()
        if not text or text.startswith(":"):
            return
        if text == "[DONE]":
            yield from self._done()
            return
        chunk = _loads(text)
        if chunk is not None:
            yield from self._chunk(chunk)
        elif "\n" in text:  # events with no blank line between them
            for line in text.split("\n"):
                if not self._over:
                    yield from self._data(line.strip())
        else:
            self._odd = self._odd or text[:200]

    def _done(self) -> Iterator[Delta]:
        if not self._finished and not self._said_something:
            yield self._fail("", "The model ended its answer without saying anything.")
            return
        if not self._finished:
            yield Finished("other")
        self._finished = True
        yield from self._conclude()
        self._over = True

    def _chunk(self, chunk: JsonObject) -> Iterator[Delta]:
        choices = _objects(chunk.get("choices"))
        failed = _failure(chunk, choices)
        for choice in choices:  # what stands beside an error was said all the same
            yield from self._delta(self._said(choice))
        yield from self._whole_parts(_sources(chunk.get("citations")))
        for choice in choices:
            if failed is None and not self._over:
                yield from self._reason(choice)
        if self._over:
            return
        if (usage := _usage(_object(chunk.get("usage")))) is not None:
            yield UsageSeen(usage)
        if failed is not None:
            yield self._fail(*failed)

    def _reason(self, choice: JsonObject) -> Iterator[Delta]:
        reason = _text(choice.get("finish_reason")).lower()
        native = _text(choice.get("native_finish_reason"))
        if reason in ("", "null"):
            return
        if reason == "error" or "error" in native.lower() or "malformed" in native.lower():
            yield self._fail("", f"The model's answer failed ({native or reason}).")
            return
        known = _REASONS.get(reason)
        if known is None and not self._said_something:
            yield self._fail("", f"The model stopped without an answer ({reason}).")
            return
        self._finished = True
        yield Finished(known or "other")

    def _said(self, choice: JsonObject) -> JsonObject:
        """The delta, or the whole message where none came before: else it only repeats them."""
        delta = choice.get("delta")
        self._streams = self._streams or isinstance(delta, dict)
        said = _object(delta if self._streams else choice.get("message"))
        if not said and (text := _text(choice.get("text"))):
            return {"content": text}
        return said

    def _delta(self, delta: JsonObject) -> Iterator[Delta]:
        for one in _spoken(delta):
            self._said_something = True
            if isinstance(one, ThinkingDelta | TextDelta) and self._grown(len(one.text)):
                yield self._too_long()
                return
            yield one
        yield from self._whole_parts(_sources(delta.get("annotations")))
        pieces = [*_objects(delta.get("tool_calls"))]
        if legacy := _object(delta.get("function_call")):
            pieces.append({"index": 0, "function": legacy})
        for piece in pieces:
            try:
                for one in self._calls.feed(piece):
                    self._said_something = True
                    if isinstance(one, CallArguments | CallRepeated) and self._grown(len(one.text)):
                        yield self._too_long()
                        return
                    yield one
            except TooManyCalls as error:
                yield self._fail("", str(error))
                return

    def _whole_parts(self, parts: Iterator[FilePart | SourcePart]) -> Iterator[Delta]:
        for part in parts:
            if part.url not in self._sources and len(self._sources) < MAX_SOURCES:
                self._sources.add(part.url)
                yield PartSeen(part)

    def _grown(self, by: int) -> bool:
        self._size += by
        return self._size > MAX_ANSWER_CHARACTERS

    def _too_long(self) -> ModelError:
        return self._fail(
            "", f"The model's answer is longer than {MAX_ANSWER_CHARACTERS} characters."
        )

    def _fail(self, code: str, message: str) -> ModelError:
        self._over = True
        return ModelError(code, message)


def _failure(chunk: JsonObject, choices: list[JsonObject]) -> tuple[str, str] | None:
    """Code and text of the error that a chunk is, in any of its spellings; None: it is none."""
    error = chunk.get("error") or next((c["error"] for c in choices if c.get("error")), None)
    if error:
        code = _object(error).get("code")
        return ("" if code is None else str(code)), _message(error)
    if choices:
        return None
    status = _object(chunk.get("base_resp"))
    if status.get("status_code"):
        return str(status["status_code"]), _text(status.get("status_msg")) or _message(status)
    if errors := chunk.get("errors"):
        first = _objects(errors)
        return "", _message(first[0] if first else errors)
    is_error = "error" in (chunk.get("object"), chunk.get("type"))
    if is_error or ("code" in chunk and "message" in chunk):
        code = chunk.get("code")
        return ("" if code is None else str(code)), _message(chunk)
    if chunk.get("detail"):
        return "", _message(chunk)
    return None


def _spoken(delta: JsonObject) -> Iterator[ThinkingDelta | TextDelta | ProviderData | PartSeen]:
    """What a delta says: thinking, text, pictures."""
    yield from _reasoning(delta)
    yield from _content(delta.get("content"))
    if refusal := _text(delta.get("refusal")):
        yield TextDelta(refusal)
    if transcript := _text(_object(delta.get("audio")).get("transcript")):
        yield TextDelta(transcript)
    for image in _objects(delta.get("images")):
        yield from _picture(image)


def _reasoning(delta: JsonObject) -> Iterator[ThinkingDelta | ProviderData]:
    """Several spellings of the same piece may stand side by side: the first one counts."""
    details = _objects(delta.get("reasoning_details"))
    blocks = _objects(delta.get("thinking_blocks"))
    spelled: list[tuple[ReasoningField, str]] = [
        ("reasoning_content", _text(delta.get("reasoning_content"))),
        ("reasoning", _text(delta.get("reasoning"))),
        ("reasoning_details", "".join(_text(d.get("text") or d.get("summary")) for d in details)),
        ("reasoning_text", _text(delta.get("reasoning_text"))),
        ("thinking", _text(delta.get("thinking"))),
        ("thinking_blocks", "".join(_text(block.get("thinking")) for block in blocks)),
    ]
    for field, text in spelled:
        if text:
            yield ThinkingDelta(text, field)
            break
    if details:
        yield ProviderData("reasoning_details", details)


def _content(content: Any) -> Iterator[TextDelta | ThinkingDelta | PartSeen]:
    if text := _text(content):
        yield TextDelta(text)
        return
    if isinstance(content, dict):
        content = [content]
    for piece in cast("list[Any]", content) if isinstance(content, list) else []:
        if text := _text(piece):
            yield TextDelta(text)
            continue
        part = _object(piece)
        if part.get("type") == "thinking":
            thinking = part.get("thinking")
            inner = _objects(thinking)
            text = _text(thinking) or "".join(_text(one.get("text")) for one in inner)
            if text:
                yield ThinkingDelta(text, "content")
        elif part.get("type") == "image_url":
            yield from _picture(part)
        elif text := _text(part.get("text")):
            yield TextDelta(text)


def _picture(image: JsonObject) -> Iterator[PartSeen]:
    """A picture that the model made, by its address."""
    place = image.get("image_url")
    url = _text(_object(place).get("url")) or _text(place)
    if url.startswith("data:image/"):
        yield PartSeen(FilePart(url, url[5:].partition(";")[0].partition(",")[0]))
    elif url.startswith(("https://", "http://")):
        yield PartSeen(FilePart(url, _IMAGE_TYPE))


def _sources(named: Any) -> Iterator[SourcePart]:
    """The web pages that an answer names: citations of `annotations`, or a list of addresses."""
    for one in cast("list[Any]", named) if isinstance(named, list) else []:
        found = _object(_object(one).get("url_citation")) or _object(one)
        url = _text(one) or _text(found.get("url"))
        if url.startswith(("https://", "http://")):
            yield SourcePart(url, _text(found.get("title")) or None)


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
    if isinstance(error, list) and (first := _objects(cast("Any", error))):
        return _message(first[0])
    inner = found.get("message") or found.get("error") or found.get("detail")
    return _message(inner) if inner else json.dumps(error, ensure_ascii=False)[:1000]


def error_message(body: str) -> str:
    """The text for people in the body of an HTTP error, which may be JSON or anything else."""
    found: Any = _loads(body)
    return " ".join((body if found is None else _message(found)).split())[:1000]


def _loads(text: str) -> JsonObject | None:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list):  # errors of some come in a list
        return next(iter(_objects(cast("Any", value))), None)
    return cast("JsonObject", value) if isinstance(value, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _object(value: Any) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def _objects(value: Any) -> list[JsonObject]:
    """The objects in a list, or the one that stands there without a list."""
    if isinstance(value, dict):
        return [cast("JsonObject", value)]
    if not isinstance(value, list):
        return []
    return [cast("JsonObject", item) for item in cast("list[Any]", value) if isinstance(item, dict)]
