"""The one reducer: what each event does to the state of a session.

Used by the gateway and the Python client, and mirrored in JavaScript; the golden vectors hold
all of them to one meaning. No event is ever refused here: what is unknown, or refers to a
message that the state lacks, changes nothing, so a client that sees only part of a session
folds what it sees.
"""

from collections.abc import Callable, Iterable
from typing import Any

from protocol import events as ev
from protocol.model import Approval, Call, Message, Run, StateData
from protocol.values import (
    HIDDEN,
    CommentaryPart,
    HiddenPart,
    Kind,
    Part,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)

# --- sessions and messages


def _created(state: StateData, e: ev.SessionCreated, seq: int) -> None:
    state.agent = e.agent
    state.metadata = dict(e.metadata or {})
    state.tools = list(e.tools or [])


def _updated(state: StateData, e: ev.SessionUpdated, seq: int) -> None:
    if e.metadata is not None:
        state.metadata = dict(e.metadata)
    if e.tools is not None:
        state.tools = list(e.tools)


def _rewound(state: StateData, e: ev.SessionRewound, seq: int) -> None:
    # a message that the state lacks is older than all it has: everything here came later
    keep = next((i + 1 for i, m in enumerate(state.messages) if m.id == e.after), 0)
    _drop(state, {m.id for m in state.messages[keep:]})


def _drop(state: StateData, gone: set[str]) -> None:
    """Removes messages with their calls, and the approvals of ended runs that have none left.

    Approvals go by run, not by call: at detail `answer` their calls may be hidden.
    """
    runs = {m.run for m in state.messages if m.id in gone}
    state.messages = [m for m in state.messages if m.id not in gone]
    runs -= {m.run for m in state.messages}
    if state.live_run is not None:
        runs.discard(state.live_run.id)
    state.calls = {k: c for k, c in state.calls.items() if c.message not in gone}
    state.approvals = {k: a for k, a in state.approvals.items() if a.run not in runs}


def _message_added(state: StateData, e: ev.MessageAdded, seq: int) -> None:
    state.messages.append(
        Message(
            id=e.message,
            role=e.role,
            status="complete",
            time=e.time,
            parts=_trimmed(e.parts),
            run=e.run,
            by=e.by,
            metadata=e.metadata,
        )
    )


def _message_started(state: StateData, e: ev.MessageStarted, seq: int) -> None:
    state.messages.append(
        Message(id=e.message, role="assistant", status="open", time=e.time, parts=[], run=e.run)
    )
    _moves(state, e.run)


def _message_completed(state: StateData, e: ev.MessageCompleted, seq: int) -> None:
    if e.status == "discarded":
        _drop(state, {e.message})
    elif (message := state.message(e.message)) is not None:
        message.status = e.status
        message.usage = e.usage


_TEXT_PARTS: dict[Kind, type[TextPart | CommentaryPart | ThinkingPart]] = {
    "text": TextPart,
    "commentary": CommentaryPart,
    "thinking": ThinkingPart,
}


def _message_delta(state: StateData, e: ev.MessageDelta, seq: int) -> None:
    message = state.message(e.message)
    if message is None:
        return
    kind = _TEXT_PARTS[e.kind]
    old = message.parts[e.part] if e.part < len(message.parts) else None
    part = kind(old.text + e.delta, old.provider) if isinstance(old, kind) else kind(e.delta)
    _place(message.parts, e.part, part)


def _message_part(state: StateData, e: ev.MessagePart, seq: int) -> None:
    if (message := state.message(e.message)) is not None:
        _place(message.parts, e.part, e.content)


def _place(parts: list[Part], index: int, part: Part) -> None:
    """Sets a part; what is skipped is hidden, and hidden parts at the end are dropped."""
    while len(parts) <= index:
        parts.append(HIDDEN)
    parts[index] = part
    _trim(parts)


def _trimmed(parts: Iterable[Part]) -> list[Part]:
    """A copy without the hidden parts at the end."""
    kept = list(parts)
    _trim(kept)
    return kept


def _trim(parts: list[Part]) -> None:
    while parts and isinstance(parts[-1], HiddenPart):
        parts.pop()


# --- runs


def _moves(state: StateData, run_id: str) -> None:
    """The run is at work again, if it waited."""
    run = state.live_run
    if run is not None and run.id == run_id and run.status == "waiting":
        run.status, run.on, run.activity = "running", None, None


def _closed(state: StateData, waited_for: str) -> None:
    """The run waits for one call or approval less."""
    run = state.live_run
    if run is not None and run.on and waited_for in run.on:
        run.on = [x for x in run.on if x != waited_for]
        if not run.on:
            _moves(state, run.id)


def _run_queued(state: StateData, e: ev.RunQueued, seq: int) -> None:
    state.queue.append(
        Run(
            id=e.run,
            status="queued",
            attempt=0,
            seq=seq,
            trigger=e.trigger,
            client=e.client,
            input=e.input,
            content=None if e.content is None else _trimmed(e.content),
            by=e.by,
            metadata=e.metadata,
        )
    )


def _run_started(state: StateData, e: ev.RunStarted, seq: int) -> None:
    at = state.queued_at(e.run)
    run = (
        state.queue.pop(at)
        if at is not None
        else Run(id=e.run, status="queued", attempt=0, seq=seq)
    )
    run.status, run.attempt, run.activity = "running", 1, None
    run.content = run.by = run.metadata = None
    state.run = run


def _run_again(state: StateData, e: ev.RunRetrying | ev.RunResumed, seq: int) -> None:
    run = state.live_run
    if run is not None and run.id == e.run:
        run.status, run.attempt, run.on, run.activity = "running", e.attempt, None, None


def _run_waiting(state: StateData, e: ev.RunWaiting, seq: int) -> None:
    run = state.live_run
    if run is not None and run.id == e.run:
        run.status, run.on, run.activity = "waiting", list(e.on), None


def _run_ended(state: StateData, run_id: str) -> Run | None:
    """The live run as it ends; a queued one is only removed."""
    at = state.queued_at(run_id)
    if at is not None:
        state.queue.pop(at)
    run = state.live_run
    if run is None or run.id != run_id:
        return None
    run.on = run.activity = None
    return run


def _run_completed(state: StateData, e: ev.RunCompleted, seq: int) -> None:
    if (run := _run_ended(state, e.run)) is not None:
        run.status = "completed"
        run.finish_reason, run.usage = e.finish_reason, e.usage
        run.output = e.output


def _run_failed(state: StateData, e: ev.RunFailed, seq: int) -> None:
    if (run := _run_ended(state, e.run)) is not None:
        run.status, run.error = "failed", e.error


def _run_cancelled(state: StateData, e: ev.RunCancelled, seq: int) -> None:
    if (run := _run_ended(state, e.run)) is not None:
        run.status = "cancelled"


def _run_child(state: StateData, e: ev.RunChild, seq: int) -> None:
    _moves(state, e.run)


def _run_activity(state: StateData, e: ev.RunActivity, seq: int) -> None:
    if (run := state.run_of(e.run)) is not None:
        run.activity = e.activity


def _run_progress(state: StateData, e: ev.RunProgress, seq: int) -> None:
    if (run := state.run_of(e.run)) is not None:
        run.progress = e.value()


def _run_output(state: StateData, e: ev.RunOutput, seq: int) -> None:
    if (run := state.run_of(e.run)) is not None:
        run.output = e.output


# --- calls and approvals


def _call_started(state: StateData, e: ev.ToolCallStarted, seq: int) -> None:
    message = state.message(e.message)
    if message is None:
        return
    _place(message.parts, e.part, ToolCallPart(e.call, e.provider))
    state.calls[e.call] = Call(
        id=e.call,
        run=message.run or "",
        message=e.message,
        name=e.name,
        target=e.target,
        arguments="",
        status="streaming",
    )


def _call_delta(state: StateData, e: ev.ToolCallDelta, seq: int) -> None:
    call = state.calls.get(e.call)
    if call is not None and call.status == "streaming":
        call.arguments += e.delta


def _call_requested(state: StateData, e: ev.ToolCallRequested, seq: int) -> None:
    if (call := state.calls.get(e.call)) is not None:
        call.status, call.arguments = "requested", e.arguments
        call.client, call.deadline, call.lease_ms = e.client, e.deadline, e.lease_ms
    if e.target == "server":
        _moves(state, e.run)


def _call_claimed(state: StateData, e: ev.ToolCallClaimed, seq: int) -> None:
    if (call := state.calls.get(e.call)) is not None:
        call.status, call.client, call.lease_until = "claimed", e.client, e.lease_until


def _call_released(state: StateData, e: ev.ToolCallReleased, seq: int) -> None:
    if (call := state.calls.get(e.call)) is not None:
        call.status = "requested"
        if e.reason == "unclaimed":  # nobody held it, so nobody is preferred any more
            call.client = None


def _call_completed(state: StateData, e: ev.ToolCallCompleted, seq: int) -> None:
    if (call := state.calls.get(e.call)) is not None:
        call.status = "completed"
        call.output, call.error, call.files = e.output, e.error, e.files
    _closed(state, e.call)


def _approval_requested(state: StateData, e: ev.ApprovalRequested, seq: int) -> None:
    state.approvals[e.approval] = Approval(
        id=e.approval,
        run=e.run,
        title=e.title,
        deadline=e.deadline,
        call=e.call,
        arguments=e.arguments,
    )


def _approval_resolved(state: StateData, e: ev.ApprovalResolved, seq: int) -> None:
    approval = state.approvals.get(e.approval)
    if approval is not None:
        approval.decision, approval.reason, approval.by = e.decision, e.reason, e.by
        if e.arguments is not None:
            approval.arguments = e.arguments
        # of a call's approval the title is the tool's name
        if e.remember and approval.call is not None and approval.title not in state.remembered:
            state.remembered.append(approval.title)
    _closed(state, e.approval)


def _custom(state: StateData, e: ev.Custom, seq: int) -> None:
    if e.keep:
        state.custom[e.name] = e.value


FOLDS: dict[type[ev.Event], Callable[[StateData, Any, int], None]] = {
    ev.SessionCreated: _created,
    ev.SessionUpdated: _updated,
    ev.SessionRewound: _rewound,
    ev.MessageAdded: _message_added,
    ev.MessageStarted: _message_started,
    ev.MessageCompleted: _message_completed,
    ev.MessageDelta: _message_delta,
    ev.MessagePart: _message_part,
    ev.RunQueued: _run_queued,
    ev.RunStarted: _run_started,
    ev.RunRetrying: _run_again,
    ev.RunResumed: _run_again,
    ev.RunWaiting: _run_waiting,
    ev.RunCompleted: _run_completed,
    ev.RunFailed: _run_failed,
    ev.RunCancelled: _run_cancelled,
    ev.RunChild: _run_child,
    ev.RunActivity: _run_activity,
    ev.RunProgress: _run_progress,
    ev.RunOutput: _run_output,
    ev.ToolCallStarted: _call_started,
    ev.ToolCallDelta: _call_delta,
    ev.ToolCallRequested: _call_requested,
    ev.ToolCallClaimed: _call_claimed,
    ev.ToolCallReleased: _call_released,
    ev.ToolCallCompleted: _call_completed,
    ev.ApprovalRequested: _approval_requested,
    ev.ApprovalResolved: _approval_resolved,
    ev.Custom: _custom,
}
