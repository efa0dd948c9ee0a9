"""What may leave the server (docs/protocol.md): one closed table, for events and for `state` alike.

event x field x part kind → the lowest detail that sees it. **What the tables do not name is
hidden**: a new field stays on the server until somebody decides about it here. The two
directions agree: `fold(filter(events)) == filter(fold(events))`, up to `seq`.

`provider` (a model provider's own ids and signatures) leaves at no detail.
"""

from collections.abc import Callable
from typing import Any

from msgspec import structs

from protocol import events as ev
from protocol.codes import ERRORS
from protocol.state import Approval, Call, Message, Run, State
from protocol.values import (
    HIDDEN,
    CommentaryPart,
    DataPart,
    Detail,
    ErrorInfo,
    FilePart,
    HiddenPart,
    Part,
    SourcePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)

ANSWER, STEPS, FULL = 0, 1, 2
LEVELS: dict[Detail, int] = {"answer": ANSWER, "steps": STEPS, "full": FULL}

PARTS: dict[type, int] = {
    TextPart: ANSWER,
    FilePart: ANSWER,
    SourcePart: ANSWER,
    DataPart: ANSWER,
    HiddenPart: ANSWER,
    CommentaryPart: STEPS,
    ToolCallPart: STEPS,  # ANSWER for a call of a client tool that the subscription declared
    ThinkingPart: FULL,
}
KINDS = {"text": ANSWER, "commentary": STEPS, "thinking": FULL}

_A, _S = ANSWER, STEPS
EVENTS: dict[type[ev.Event], dict[str, int]] = {
    ev.SessionCreated: {"agent": _A, "metadata": _A, "tools": _A},
    ev.SessionUpdated: {"metadata": _A, "tools": _A},
    ev.SessionDeleted: {},
    ev.SessionRewound: {"after": _A},
    ev.MessageAdded: dict.fromkeys(("message", "role", "parts", "by", "metadata", "run"), _A),
    ev.MessageStarted: {"message": _A, "run": _A, "read": _A},
    ev.MessageCompleted: {"message": _A, "status": _A},
    ev.MessageDelta: dict.fromkeys(("message", "part", "kind", "delta"), _A),  # and its kind
    ev.MessagePart: dict.fromkeys(("message", "part", "content"), _A),  # and its content's kind
    ev.RunQueued: dict.fromkeys(("run", "client", "trigger", "content", "by", "metadata"), _A),
    ev.RunStarted: {"run": _A},
    ev.RunRetrying: {"run": _A, "attempt": _A, "reason": _A},
    ev.RunResumed: {"run": _A, "attempt": _A, "reason": _A},
    ev.RunWaiting: {"run": _A, "on": _A},
    ev.RunCompleted: {"run": _A, "output": _A, "finish_reason": _A},
    ev.RunFailed: {"run": _A, "error": _A},
    ev.RunCancelled: {"run": _A, "by": _A, "reason": _A},
    ev.RunOutput: {"run": _A, "output": _A},
    ev.RunActivity: {"run": _S, "activity": _S, "text": _S},
    ev.RunProgress: {"run": _S, "current": _S, "total": _S, "text": _S},
    ev.ToolCallStarted: dict.fromkeys(("message", "part", "call", "name", "target"), _S),
    ev.ToolCallRequested: dict.fromkeys(
        ("call", "run", "message", "name", "target", "client", "deadline", "lease_ms"), _S
    ),
    ev.ToolCallClaimed: {"call": _S, "client": _S, "lease_until": _S, "by": _S},
    ev.ToolCallReleased: {"call": _S, "reason": _S},
    ev.ToolCallCompleted: {"call": _S, "error": _S},
    ev.ToolCallProgress: {"call": _S, "current": _S, "total": _S, "text": _S},
    ev.ApprovalRequested: dict.fromkeys(
        ("approval", "run", "call", "title", "arguments", "deadline"), _A
    ),
    ev.ApprovalResolved: dict.fromkeys(
        ("approval", "decision", "arguments", "reason", "by", "remember"), _A
    ),
    # full alone: tool_call.delta, run.log, run.child, custom
}
OF_CALLS = (
    ev.ToolCallStarted,
    ev.ToolCallDelta,
    ev.ToolCallRequested,
    ev.ToolCallClaimed,
    ev.ToolCallReleased,
    ev.ToolCallCompleted,
    ev.ToolCallProgress,
)
"""Events that a subscription which declared the client tool sees whole, at any detail."""

STATE: dict[str, int] = {
    **dict.fromkeys(("session", "agent", "epoch", "seq", "metadata", "tools", "messages"), _A),
    **dict.fromkeys(("more", "run", "queue", "calls", "approvals", "remembered"), _A),
    "custom": FULL,
}
MESSAGE: dict[str, int] = {
    **dict.fromkeys(("id", "role", "status", "time", "parts", "run", "by", "metadata"), _A),
    "usage": FULL,
}
RUN: dict[str, int] = {
    **dict.fromkeys(("id", "status", "attempt", "seq", "trigger", "client", "content", "by"), _A),
    **dict.fromkeys(("metadata", "on", "output", "finish_reason", "error"), _A),
    **dict.fromkeys(("activity", "progress"), _S),
    "input": FULL,
    "usage": FULL,
}
CALL: dict[str, int] = {
    **dict.fromkeys(("id", "run", "message", "name", "target", "status", "client"), _S),
    **dict.fromkeys(("deadline", "lease_ms", "lease_until", "error"), _S),
    **dict.fromkeys(("arguments", "output", "files"), FULL),
}
APPROVAL: dict[str, int] = {
    **dict.fromkeys(("id", "run", "call", "title", "arguments", "deadline"), _A),
    **dict.fromkeys(("decision", "reason", "by"), _A),
}


def _hidden_fields(struct: type, table: dict[str, int]) -> list[dict[str, Any]]:
    """Per level, the values that take the place of what the level may not see."""
    fields = [f for f in structs.fields(struct) if f.name not in ("time", "provider")]
    blank = {f.name: None if f.required else f.default for f in fields}
    return [
        {name: value for name, value in blank.items() if table.get(name, FULL) > level}
        for level in (ANSWER, STEPS, FULL)
    ]


def _lowest(table: dict[str, int]) -> int:
    """The lowest detail that sees anything of an event with this row."""
    return min(table.values(), default=ANSWER)


_HIDDEN = {e: _hidden_fields(e, t) for e, t in EVENTS.items()}
_LOWEST = {e: _lowest(t) for e, t in EVENTS.items()}
_RUN = _hidden_fields(Run, RUN)
_MESSAGE = _hidden_fields(Message, MESSAGE)
_CALL = _hidden_fields(Call, CALL)
_APPROVAL = _hidden_fields(Approval, APPROVAL)

CallName = Callable[[str], tuple[str, str] | None]
"""Call id -> (name, target), or None if the call is unknown."""


def fixed_error(error: ErrorInfo) -> ErrorInfo:
    """The code with its text from the table: what an agent said may hold secrets."""
    row = ERRORS.get(error.code)
    return ErrorInfo(error.code, row.text if row is not None else "It failed.")


class View:
    """What one subscription may see: its detail and the client tools it declared."""

    __slots__ = ("_all", "detail", "level", "tools")

    def __init__(self, detail: Detail, tools: list[str] | None = None) -> None:
        self.detail: Detail = detail
        self.level = LEVELS[detail]
        self.tools = frozenset(tools or ())
        self._all = "*" in self.tools

    def declared(self, name: str, target: str) -> bool:
        """Whether calls of this tool are for this tab."""
        return target == "client" and (self._all or name in self.tools)

    # --- events

    def event(self, event: ev.Event, call_name: CallName) -> ev.Event | None:
        """What of `event` may leave: the same object if all of it, None if nothing."""
        if self.level == FULL:
            return without_provider(event)
        kind = type(event)
        if kind in OF_CALLS and self._own_call(event, call_name):
            return without_provider(event)
        if _LOWEST.get(kind, FULL) > self.level:
            return None
        if isinstance(event, ev.MessageDelta):
            return event if KINDS[event.kind] <= self.level else None
        changes = {k: v for k, v in _HIDDEN[kind][self.level].items() if getattr(event, k) != v}
        changes |= self._inside(event, call_name)
        return structs.replace(event, **changes) if changes else event

    def _own_call(self, event: Any, call_name: CallName) -> bool:
        if isinstance(event, ev.ToolCallStarted | ev.ToolCallRequested):
            return self.declared(event.name, event.target)
        known = call_name(event.call)
        return known is not None and self.declared(*known)

    def _inside(self, event: ev.Event, call_name: CallName) -> dict[str, Any]:
        """The changes within a field that itself is visible."""
        match event:
            case ev.MessagePart(content=part):
                seen = self.part(part, call_name)
                return {} if seen is part else {"content": seen}
            case ev.MessageAdded(parts=parts) | ev.RunQueued(content=list() as parts):
                seen = self.parts(parts, call_name)
                name = "parts" if isinstance(event, ev.MessageAdded) else "content"
                return {} if seen == parts else {name: seen}
            case ev.RunFailed(error=error) | ev.ToolCallCompleted(error=ErrorInfo() as error):
                return {"error": fixed_error(error)}
            case ev.ToolCallStarted(provider=provider) if provider is not None:
                return {"provider": None}
            case _:
                return {}

    # --- parts

    def part(self, part: Part, call_name: CallName) -> Part:
        """The part, or `hidden` in its place."""
        visible = PARTS.get(type(part), FULL) <= self.level
        if not visible and isinstance(part, ToolCallPart):
            known = call_name(part.call)
            visible = known is not None and self.declared(*known)
        return _bare(part) if visible else HIDDEN

    def parts(self, parts: list[Part], call_name: CallName) -> list[Part]:
        """Parts with the hidden ones in place, but for those at the end."""
        seen = [self.part(p, call_name) for p in parts]
        while seen and isinstance(seen[-1], HiddenPart):
            seen.pop()
        return seen

    # --- state

    def state(self, state: State) -> State:
        """What of a state may leave; a new state that can be folded on, `state` is not changed."""

        def call_name(call: str) -> tuple[str, str] | None:
            known = state.calls.get(call)
            return None if known is None else (known.name, known.target)

        calls = ((k, self._call(c)) for k, c in state.calls.items())
        inside: dict[str, Any] = {
            "messages": [self._message(m, call_name) for m in state.messages],
            "run": None if state.run is None else self._run(state.run, call_name),
            "queue": [self._run(r, call_name) for r in state.queue],
            "calls": {k: call for k, call in calls if call is not None},
            "approvals": {k: self._approval(a) for k, a in state.approvals.items()},
            "remembered": list(state.remembered),
            "custom": dict(state.custom),
        }
        visible = (name for name, level in STATE.items() if level <= self.level)
        return State(**{k: inside[k] if k in inside else getattr(state, k) for k in visible})

    def message(self, message: Message, calls: dict[str, Call]) -> Message:
        """What of one message may leave."""

        def call_name(call: str) -> tuple[str, str] | None:
            known = calls.get(call)
            return None if known is None else (known.name, known.target)

        return self._message(message, call_name)

    def _message(self, message: Message, call_name: CallName) -> Message:
        parts = self.parts(message.parts, call_name)
        return structs.replace(message, parts=parts, **_MESSAGE[self.level])

    def _run(self, run: Run, call_name: CallName) -> Run:
        changes = dict(_RUN[self.level])
        if self.level < FULL and run.error is not None:
            changes["error"] = fixed_error(run.error)
        if run.content is not None:
            changes["content"] = self.parts(run.content, call_name)
        return structs.replace(run, **changes)

    def _call(self, call: Call) -> Call | None:
        if self.level == FULL or self.declared(call.name, call.target):
            return structs.replace(call)
        if self.level < STEPS:
            return None
        changes = dict(_CALL[self.level])
        if call.deadline is None:  # never offered: what an event would have set is not there
            changes["arguments"] = ""
        if call.error is not None:
            changes["error"] = fixed_error(call.error)
        return structs.replace(call, **changes)

    def _approval(self, approval: Approval) -> Approval:
        return structs.replace(approval, **_APPROVAL[self.level])


def without_provider(event: ev.Event) -> ev.Event:
    """The event without a provider's private data; the same object if it holds none."""
    match event:
        case ev.ToolCallStarted(provider=provider) if provider is not None:
            return structs.replace(event, provider=None)
        case ev.MessagePart(content=part):
            bare = _bare(part)
            return event if bare is part else structs.replace(event, content=bare)
        case ev.MessageAdded(parts=parts) if _private(parts):
            return structs.replace(event, parts=[_bare(p) for p in parts])
        case ev.RunQueued(content=list() as parts) if _private(parts):
            return structs.replace(event, content=[_bare(p) for p in parts])
        case _:
            return event


def _private(parts: list[Part]) -> bool:
    return any(getattr(p, "provider", None) is not None for p in parts)


def _bare(part: Part) -> Part:
    """The part without `provider`."""
    if getattr(part, "provider", None) is None:
        return part
    return structs.replace(part, provider=None)
