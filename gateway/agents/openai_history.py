"""A session's messages as an OpenAI-compatible endpoint wants them in its next request.

Pure functions over a run's history. What a provider put beside its reasoning and its calls
(`provider`, written by `gateway.agents.openai`) goes back verbatim: ids always, the rest only to
the model that it came from. Requests themselves are not made here.
"""

import re
from base64 import b64decode
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import Struct

from gateway.agents.openai_stream import JsonObject, ReasoningField
from gateway.runtime.history import HistoryCall, HistoryMessage
from protocol.values import (
    CommentaryPart,
    DataPart,
    FilePart,
    Part,
    TextPart,
    ThinkingPart,
    Tool,
)

_UNWANTED = re.compile(r"[^A-Za-z0-9_-]")


DataT = TypeVar("DataT", "CallData", "ThinkingData")


class Conversation(Struct, frozen=True, kw_only=True):
    """What a request is made from; `input` is what started the run, if no message did."""

    messages: Sequence[HistoryMessage]
    model: str
    system: str | None = None
    input: Any = None


class CallData(Struct, frozen=True, omit_defaults=True):
    """`provider` of a `tool_call` part: the provider's id and what else it put beside the call.

    `reasoning` names the field in which the step's reasoning came, and must go back while the
    model works on the same question.
    """

    model: str
    id: str = ""
    extra: JsonObject = {}
    reasoning: ReasoningField | None = None


class ThinkingData(Struct, frozen=True):
    """`provider` of a `thinking` part: signed or encrypted reasoning."""

    model: str
    reasoning_details: list[JsonObject]


UNSAID = "(This began without a message.)"
"""Before calls that nobody asked for in words: the input of an earlier run is not kept, and some
providers refuse calls that begin a conversation."""


def request_messages(conversation: Conversation) -> list[JsonObject]:
    """The `messages` of the next request, oldest first; each call is followed by its result."""
    made: list[JsonObject] = []
    if conversation.system is not None:
        made.append({"role": "system", "content": conversation.system})
    asked = conversation.input is None
    spelling = _Spelling(conversation)
    for message in conversation.messages:
        if not asked and message.mine:
            asked = True
            made.append(_input(conversation.input))
        if message.role == "assistant":
            made += _assistant(spelling, message)
        elif content := _content(message.parts):
            made.append({"role": message.role, "content": content})
    if not asked:
        made.append(_input(conversation.input))
    begun = next((at for at, one in enumerate(made) if one["role"] != "system"), len(made))
    if begun < len(made) and "tool_calls" in made[begun]:
        made.insert(begun, {"role": "user", "content": UNSAID})
    return _with_turns(made)


def _with_turns(made: list[JsonObject]) -> list[JsonObject]:
    """Puts a word of the assistant's between a tool's result and what a user says next.

    After a Stop, a steering message or files of a tool there is none, and some providers
    (Mistral) refuse every later request of such a conversation.
    """
    turned: list[JsonObject] = []
    for one in made:
        if turned and turned[-1]["role"] == "tool" and one["role"] == "user":
            turned.append({"role": "assistant", "content": CONTINUED})
        turned.append(one)
    return turned


CONTINUED = "(The results are above.)"
"""What the assistant says between a tool's result and a user's message."""
NO_OUTPUT = "(no output)"
"""In place of an empty result, which some providers refuse."""
TEXT_TYPES = frozenset({"application/json", "application/xml", "image/svg+xml"})
"""What is text, besides `text/…`."""
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What models take as pictures."""
MAX_TEXT_FILE_CHARACTERS = 200_000
"""Of a text file so much goes to the model."""


class _Spelling:
    """How this conversation's names, ids and thoughts are written for this model."""

    def __init__(self, conversation: Conversation) -> None:
        self.model = conversation.model
        calls = [call for message in conversation.messages for call in message.calls]
        self._names = function_names(dict.fromkeys(call.name for call in calls))
        # A provider's id may come twice, within a step or in another one: then ours is sent.
        self._ids: dict[str, str] = {}
        taken: set[str] = set()
        for call in calls:
            data = _data(call.provider, CallData)
            wanted = (data.id if data else "") or call.id
            self._ids[call.id] = call.id if wanted in taken else wanted
            taken.add(self._ids[call.id])
        self.fields = {
            data.reasoning
            for call in calls
            if (data := _data(call.provider, CallData)) is not None
            and data.model == self.model
            and data.reasoning in ("reasoning_content", "reasoning")
        }

    def id(self, call: HistoryCall) -> str:
        """The provider's own id, whichever model's; ours if it gave none or gave it twice."""
        return self._ids[call.id]

    def name(self, call: HistoryCall) -> str:
        """The function's name."""
        return self._names[call.name]


def function_tools(tools: Iterable[Tool]) -> list[JsonObject]:
    """The `tools` of a request."""
    made: list[JsonObject] = []
    tools = list(tools)
    names = function_names(tool.name for tool in tools)
    for tool in tools:
        function: JsonObject = {"name": names[tool.name]}
        if tool.description is not None:
            function["description"] = tool.description
        # Some refuse a schema without these two, which mean nothing more.
        parameters: JsonObject = {"type": "object", "properties": {}, **tool.parameters}
        made.append({"type": "function", "function": {**function, "parameters": parameters}})
    return made


def function_names(names: Iterable[str]) -> dict[str, str]:
    """The functions' names by the tools' names; no two are the same."""
    made: dict[str, str] = {}
    for name in names:
        if name in made:
            continue
        wanted = sent = function_name(name)
        number = 2
        while sent in made.values():
            suffix = f"_{number}"
            sent, number = wanted[: 64 - len(suffix)] + suffix, number + 1
        made[name] = sent
    return made


def function_name(name: str) -> str:
    """A tool's name with what providers refuse in it replaced."""
    return _UNWANTED.sub("_", name)[:64]


def merge_details(details: list[JsonObject], pieces: Iterable[JsonObject]) -> None:
    """Adds streamed pieces of `reasoning_details`: neighbouring texts of one item are joined."""
    for piece in pieces:
        last = details[-1] if details else {}
        grows = {"reasoning.text": "text", "reasoning.summary": "summary"}.get(
            str(piece.get("type"))
        )
        same = all(last.get(key) == piece.get(key) for key in ("type", "index"))
        if grows is None or not same or last.get("signature"):
            details.append(dict(piece))
            continue
        text = (last.get(grows) or "") + (piece.get(grows) or "")
        last |= {key: value for key, value in piece.items() if value is not None}
        last[grows] = text


def _assistant(spelling: _Spelling, message: HistoryMessage) -> list[JsonObject]:
    spoken = (p.text for p in message.parts if isinstance(p, (TextPart, CommentaryPart)))
    text = "".join(spoken)
    if not text.strip():
        text = ""  # blanks alone are no content to some providers
    if not text and not message.calls:
        return []
    made: JsonObject = {"role": "assistant"}
    if text or message.calls:
        made["content"] = text or None
    _reason(made, spelling, message)
    if message.calls:
        made["tool_calls"] = [_call(spelling, call) for call in message.calls]
    results = [_result(spelling, call) for call in message.calls]
    return [made, *results, *_files(message.calls)]


def _reason(made: JsonObject, spelling: _Spelling, message: HistoryMessage) -> None:
    """Puts the message's reasoning back where its provider wants to see it again.

    Thinking models (DeepSeek, Kimi) refuse a conversation in which an assistant's message with
    calls has lost its reasoning, in this run or in an earlier one; where a later step of the run
    came without any, the field stands there empty.
    """
    thoughts = [part for part in message.parts if isinstance(part, ThinkingPart)]
    details: list[JsonObject] = []
    for thought in thoughts:
        data = _data(thought.provider, ThinkingData)
        details += data.reasoning_details if data and data.model == spelling.model else ()
    if details:
        made["reasoning_details"] = details
        return
    if not message.calls:
        return
    text = "".join(thought.text for thought in thoughts)
    data = _data(message.calls[0].provider, CallData)
    if data is None or data.model != spelling.model:
        return
    if data.reasoning is None or not text:
        for field in spelling.fields:
            made[field] = ""
    elif data.reasoning == "content":
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
        spoken = made.get("content")
        made["content"] = [thinking, *([{"type": "text", "text": spoken}] if spoken else [])]
    else:
        made[data.reasoning] = text


def _call(spelling: _Spelling, call: HistoryCall) -> JsonObject:
    data = _data(call.provider, CallData)
    arguments: Any = call.arguments
    return {
        **(data.extra if data and data.model == spelling.model else {}),
        "id": spelling.id(call),
        "type": "function",
        "function": {
            "name": spelling.name(call),
            "arguments": _json(arguments if isinstance(arguments, dict) else {}),
        },
    }


def _result(spelling: _Spelling, call: HistoryCall) -> JsonObject:
    """A call's outcome for the model: a text as it is, anything else as compact JSON."""
    if call.error is not None:
        content = _json({"error": call.error})
    else:
        content = call.output if isinstance(call.output, str) else _json(call.output)
    if not content.strip():
        content = NO_OUTPUT
    return {"role": "tool", "tool_call_id": spelling.id(call), "content": content}


def _files(calls: Iterable[HistoryCall]) -> list[JsonObject]:
    """Files that tools returned, as a user's message: a tool's message holds only text."""
    parts: list[Part] = []
    for call in calls:
        if call.files:
            parts += [TextPart(f"Files that {call.name} returned:"), *call.files]
    return [{"role": "user", "content": _content(parts)}] if parts else []


def _content(parts: Sequence[Part]) -> str | list[JsonObject]:
    """What a user said: a string if it is all text."""
    texts = [part.text for part in parts if isinstance(part, (TextPart, CommentaryPart))]
    if len(texts) == len(parts):
        joined = "\n\n".join(texts)
        return joined if joined.strip() else ""
    return [piece for part in parts if (piece := _piece(part)) is not None]


def _piece(part: Part) -> JsonObject | None:
    match part:
        case TextPart() | CommentaryPart():
            return {"type": "text", "text": part.text}
        case FilePart():
            return _file(part)
        case DataPart():
            return {"type": "text", "text": _json({"name": part.name, "value": part.value})}
        case _:
            return None


def _file(part: FilePart) -> JsonObject:
    name = part.name or "file"
    media_type = part.media_type.partition(";")[0].strip().lower()
    if media_type in IMAGE_TYPES:
        return {"type": "image_url", "image_url": {"url": part.url}}
    if (text := _text_of(part, media_type)) is not None:
        return {"type": "text", "text": f"{name}:\n{text}"}
    if part.url.startswith("data:"):
        return {"type": "file", "file": {"filename": name, "file_data": part.url}}
    return {"type": "text", "text": f"{name} ({part.media_type}): {part.url}"}


def _text_of(part: FilePart, media_type: str) -> str | None:
    """What a text file in a `data:` URL says; None: it is none, or cannot be read."""
    is_text = media_type.startswith("text/") or media_type in TEXT_TYPES
    if not is_text or not part.url.startswith("data:"):
        return None
    head, _, data = part.url.partition(",")
    try:
        raw = b64decode(data, validate=True) if head.endswith(";base64") else unquote_to_bytes(data)
    except ValueError:
        return None
    text = raw.decode(errors="replace")
    if len(text) > MAX_TEXT_FILE_CHARACTERS:
        return text[:MAX_TEXT_FILE_CHARACTERS] + "\n(The rest of the file is left out.)"
    return text


def _input(value: Any) -> JsonObject:
    return {"role": "user", "content": value if isinstance(value, str) else _json(value)}


def _data(provider: Any, kind: type[DataT]) -> DataT | None:
    """What this agent put there; None if it was another agent."""
    try:
        return msgspec.convert(provider, kind)
    except msgspec.ValidationError:
        return None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
