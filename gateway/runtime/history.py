"""A session's messages as an agent sees them: provider-neutral, every call with its result.

Pure. Complete and interrupted messages only. A message carries the results of its own calls, so
what a person said while they were open comes after them by itself. Calls without a result yet are
left out: no model accepts a request with one.
"""

from collections.abc import Collection
from typing import Any, Literal

import msgspec
from msgspec import Struct

from protocol.model import Call, Message, Run, StateData
from protocol.values import (
    ErrorInfo,
    FilePart,
    HiddenPart,
    Metadata,
    Part,
    TextPart,
    ToolCallPart,
    Usage,
)

SEEN = frozenset({"complete", "interrupted"})
"""The statuses of messages that an agent sees."""


class HistoryCall(Struct, frozen=True, kw_only=True):
    """A closed call; `provider` is what the model's side attached to it."""

    id: str
    name: str
    arguments: Any
    provider: Any = None
    output: Any = None
    error: ErrorInfo | None = None
    files: list[FilePart] | None = None


class HistoryMessage(Struct, frozen=True, kw_only=True):
    """A message with the closed calls among its parts, in the parts' order."""

    id: str
    role: Literal["user", "assistant", "system"]
    parts: list[Part]
    calls: list[HistoryCall]
    interrupted: bool = False
    mine: bool = False
    """Written by the run that looks."""
    metadata: Metadata | None = None
    usage: Usage | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(p.text for p in self.parts if isinstance(p, TextPart))


def history(state: StateData, run: Run, own: Collection[str] | None = None) -> list[HistoryMessage]:
    """The messages before the next model call of `run`.

    With `own`, as a replayed agent sees them: as at the run's start, and these messages of its own.
    """
    messages = state.messages if own is None else _since_start(state.messages, run, own)
    return [_message(state, m, run) for m in messages if m.status in SEEN]


def one_of_history(state: StateData, run: Run, id_: str) -> HistoryMessage | None:
    """One message as `history` has it, without the cost of all the others."""
    message = state.message(id_)
    return None if message is None or message.status not in SEEN else _message(state, message, run)


def _since_start(messages: list[Message], run: Run, own: Collection[str]) -> list[Message]:
    before = next((i + 1 for i, m in enumerate(messages) if m.id == run.trigger), None)
    if before is None:
        before = next((i for i, m in enumerate(messages) if m.run == run.id), len(messages))
    mine = [m for m in messages[before:] if m.run == run.id and m.id in own]
    return messages[:before] + mine


def _message(state: StateData, message: Message, run: Run) -> HistoryMessage:
    parts: list[Part] = []
    calls: list[HistoryCall] = []
    for part in message.parts:
        if isinstance(part, HiddenPart):
            continue
        if isinstance(part, ToolCallPart):
            call = state.calls.get(part.call)
            if call is None or call.status != "completed":
                continue
            calls.append(_call(state, call, part.provider))
        parts.append(part)
    return HistoryMessage(
        id=message.id,
        role=message.role,
        parts=parts,
        calls=calls,
        interrupted=message.status == "interrupted",
        mine=message.run == run.id,
        metadata=message.metadata,
        usage=message.usage,
    )


def _call(state: StateData, call: Call, provider: Any) -> HistoryCall:
    return HistoryCall(
        id=call.id,
        name=call.name,
        arguments=arguments_of(state, call),
        provider=provider,
        output=call.output,
        error=call.error,
        files=call.files,
    )


def arguments_of(state: StateData, call: Call) -> Any:
    """What a call was asked for; of one that was denied, what a person was shown."""
    if call.arguments == "":
        for approval in state.approvals.values():
            if approval.call == call.id:
                return approval.arguments
    return parsed(call.arguments)


def parsed(arguments: Any) -> Any:
    """Arguments as JSON: a call that was never requested has only the text of its stream."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}
