"""A session's messages as an OpenAI-compatible endpoint wants them in its next request.

Pure functions over a run's history. What a provider put beside its reasoning and its calls
(`provider`, written by `gateway.agents.openai`) goes back verbatim: ids always, the rest only to
the model that it came from. Requests themselves are not made here.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

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
    for message in conversation.messages:
        if not asked and message.mine:
            asked = True
            made.append(_input(conversation.input))
        if message.role == "assistant":
            made += _assistant(conversation.model, message)
        elif content := _content(message.parts):
            made.append({"role": message.role, "content": content})
    if not asked:
        made.append(_input(conversation.input))
    begun = next((at for at, one in enumerate(made) if one["role"] != "system"), len(made))
    if begun < len(made) and "tool_calls" in made[begun]:
        made.insert(begun, {"role": "user", "content": UNSAID})
    return made


def function_tools(tools: Iterable[Tool]) -> list[JsonObject]:
    """The `tools` of a request."""
    made: list[JsonObject] = []
    for tool in tools:
        function: JsonObject = {"name": function_name(tool.name)}
        if tool.description is not None:
            function["description"] = tool.description
        made.append({"type": "function", "function": {**function, "parameters": tool.parameters}})
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


def _assistant(model: str, message: HistoryMessage) -> list[JsonObject]:
    spoken = (p.text for p in message.parts if isinstance(p, (TextPart, CommentaryPart)))
    text = "".join(spoken)
    if not text and not message.calls:
        return []
    made: JsonObject = {"role": "assistant"}
    if text:
        made["content"] = text
    _reason(made, model, message)
    if message.calls:
        made["tool_calls"] = [_call(model, call) for call in message.calls]
    results = [_result(call) for call in message.calls]
    return [made, *results, *_files(message.calls)]


def _reason(made: JsonObject, model: str, message: HistoryMessage) -> None:
    """Puts the message's reasoning back where its provider wants to see it again."""
    thoughts = [part for part in message.parts if isinstance(part, ThinkingPart)]
    details: list[JsonObject] = []
    for thought in thoughts:
        data = _data(thought.provider, ThinkingData)
        details += data.reasoning_details if data and data.model == model else ()
    if details:
        made["reasoning_details"] = details
        return
    text = "".join(thought.text for thought in thoughts)
    if not text or not message.mine or not message.calls:
        return
    data = _data(message.calls[0].provider, CallData)
    if data is None or data.reasoning is None or data.model != model:
        return
    if data.reasoning == "content":
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
        spoken = made.get("content")
        made["content"] = [thinking, *([{"type": "text", "text": spoken}] if spoken else [])]
    else:
        made[data.reasoning] = text


def _call(model: str, call: HistoryCall) -> JsonObject:
    data = _data(call.provider, CallData)
    arguments: Any = call.arguments
    return {
        **(data.extra if data and data.model == model else {}),
        "id": _call_id(call),
        "type": "function",
        "function": {
            "name": function_name(call.name),
            "arguments": _json(arguments if isinstance(arguments, dict) else {}),
        },
    }


def _result(call: HistoryCall) -> JsonObject:
    """A call's outcome for the model: a text as it is, anything else as compact JSON."""
    if call.error is not None:
        content = _json({"error": call.error})
    else:
        content = call.output if isinstance(call.output, str) else _json(call.output)
    return {"role": "tool", "tool_call_id": _call_id(call), "content": content}


def _files(calls: Iterable[HistoryCall]) -> list[JsonObject]:
    """Files that tools returned, as a user's message: a tool's message holds only text."""
    parts: list[Part] = []
    for call in calls:
        if call.files:
            parts += [TextPart(f"Files that {call.name} returned:"), *call.files]
    return [{"role": "user", "content": _content(parts)}] if parts else []


def _call_id(call: HistoryCall) -> str:
    """The provider's own id, whichever model's; ours if it gave none."""
    data = _data(call.provider, CallData)
    return (data.id if data else "") or call.id


def _content(parts: Sequence[Part]) -> str | list[JsonObject]:
    """What a user said: a string if it is all text."""
    texts = [part.text for part in parts if isinstance(part, (TextPart, CommentaryPart))]
    if len(texts) == len(parts):
        return "\n\n".join(texts)
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
    if part.media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": part.url}}
    if part.url.startswith("data:"):
        return {"type": "file", "file": {"filename": name, "file_data": part.url}}
    return {"type": "text", "text": f"{name} ({part.media_type}): {part.url}"}


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
