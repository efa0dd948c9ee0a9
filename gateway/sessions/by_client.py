"""Decisions on what clients ask about a session, its messages and its runs (docs/protocol.md).

Pure: no I/O, no clock. Each function adds events to the draft or raises `ProtocolError` before it
added any that matter; calls and approvals are in `by_tab`.
"""

import itertools
from typing import Any

from gateway.sessions.closing import cancel_run, make_way
from gateway.sessions.draft import Decision, Draft, Origin
from gateway.sessions.session import same_json
from gateway.sessions.sizes import check_log, check_metadata, check_queue, check_tools
from protocol import commands as cmd
from protocol import events as ev
from protocol.errors import ProtocolError, malformed
from protocol.state import Run
from protocol.values import FilePart, Metadata, Part, TextPart, Tool


def merged(old: Metadata, changes: Metadata) -> Metadata:
    """Metadata after a merge by key; null deletes."""
    new: dict[str, Any] = {**old, **changes}
    return {k: v for k, v in new.items() if v is not None}


def update(draft: Draft, command: cmd.SessionUpdate, _: Origin) -> Decision:
    """The page declares other tools or metadata."""
    sizes, metadata = draft.rules.sizes, command.metadata
    check_log(sizes, draft.session.log_bytes)
    check_metadata(sizes, metadata and merged(draft.state.metadata, metadata))
    check_tools(sizes, command.tools)
    change(draft, metadata, command.tools)
    return draft.done()


def change(draft: Draft, changes: Metadata | None, tools: list[Tool] | None) -> None:
    """`session.updated`, if anything becomes different."""
    state = draft.state
    metadata = None if changes is None else merged(state.metadata, changes)
    metadata = None if same_json(metadata, state.metadata) else metadata
    tools = None if same_json(tools, state.tools) else tools
    if metadata is not None or tools is not None:
        draft.add(ev.SessionUpdated(time=draft.time, metadata=metadata, tools=tools))


def delete(draft: Draft, _: cmd.SessionDelete, origin: Origin) -> Decision:
    """Stops what runs and waits, then the session is gone."""
    by = origin.principal.subject
    for queued in list(draft.state.queue):
        draft.add(ev.RunCancelled(time=draft.time, run=queued.id, by=by))
    draft.ledger.unread.clear()  # nothing starts any more
    if draft.live is not None:
        cancel_run(draft, draft.live, by)
    draft.add(ev.SessionDeleted(time=draft.time))
    draft.end_attempt(next_at=None)
    draft.delete()
    return draft.done()


def send(draft: Draft, command: cmd.MessageSend, origin: Origin) -> Decision:
    """A user's message."""
    check_log(draft.rules.sizes, draft.session.log_bytes)
    message = command.message or draft.new_id("m")
    if draft.state.message(message) is not None or _waits(draft, message):
        raise ProtocolError("command.conflict", f"Message {message} exists already.")
    parts = _content(command)
    busy = _busy(draft)
    joins = ("steer",) if command.start else ("steer", "enqueue")  # nothing to wait for a run with
    if busy is not None and command.if_busy in joins:
        if command.after is not None:
            raise _is_busy(draft)
        _add_message(draft, command, message, parts, origin)
        return draft.done(message=message, run=busy.id)
    _make_room(draft, command, origin)
    if _busy(draft) is None:
        _add_message(draft, command, message, parts, origin)
        if not command.start:
            return draft.done(message=message)
        return _queue(draft, origin, trigger=message, message=message)
    if not command.start:
        raise _is_busy(draft)
    return _queue(
        draft,
        origin,
        trigger=message,
        message=message,
        content=parts,
        by=origin.principal.subject,
        metadata=command.metadata,
    )


def start(draft: Draft, command: cmd.RunStart, origin: Origin) -> Decision:
    """A run without a new message; without input the person's last one triggers it."""
    check_log(draft.rules.sizes, draft.session.log_bytes)
    if command.if_busy == "steer" and _busy(draft) is not None:
        raise _is_busy(draft)  # there is no message to steer with
    _make_room(draft, command, origin)
    trigger = command.after
    if trigger is None and command.input is None and _busy(draft) is None:
        trigger = _unanswered(draft)
    return _queue(draft, origin, trigger=trigger, input=command.input)


def interrupt(draft: Draft, command: cmd.RunInterrupt, origin: Origin) -> Decision:
    """Stop means stop: the run is closed and fenced off in this append."""
    by = origin.principal.subject
    run = draft.live
    if run is not None and command.run in (None, run.id):
        cancel_run(draft, run, by, command.reason)
        return draft.done()
    queue = draft.state.queue
    waiting = [r for r in queue if r.id == command.run] if command.run else queue[:1]
    if not waiting:
        raise ProtocolError(
            "run.not_active",
            f"Run {command.run} is not active."
            if command.run
            else f"Session {draft.state.session} has no run to stop.",
        )
    draft.add(ev.RunCancelled(time=draft.time, run=waiting[0].id, by=by, reason=command.reason))
    if run is None:
        make_way(draft, waiting[0].client, waiting[0].by)
    return draft.done()


def _content(command: cmd.MessageSend) -> list[Part]:
    """The message's parts, without anything private that a client may have put in."""
    if isinstance(command.content, str):
        return [TextPart(command.content)]
    for index, part in enumerate(command.content):
        if isinstance(part, FilePart):
            check_url(part, f"$.content[{index}].url")
    return [TextPart(p.text) if isinstance(p, TextPart) else p for p in command.content]


def check_url(file: FilePart, path: str) -> None:
    """Raises `ProtocolError` for a file that is somewhere else than files may be."""
    if not file.url.startswith(("https:", "http:", "data:")):
        raise malformed("Expected an http, https or data URL.", path)


def _busy(draft: Draft) -> Run | None:
    """The live run, or the next one if a worker has yet to come."""
    return draft.live or (draft.state.queue[0] if draft.state.queue else None)


def _is_busy(draft: Draft) -> ProtocolError:
    return ProtocolError(
        "session.busy",
        f"Session {draft.state.session} has a live run; "
        "set if_busy to enqueue, steer or interrupt.",
    )


def _waits(draft: Draft, message: str) -> bool:
    return any(r.trigger == message and r.content is not None for r in draft.state.queue)


def _make_room(draft: Draft, command: cmd.MessageSend | cmd.RunStart, origin: Origin) -> None:
    """Refuses, stops or lets wait what is busy; then rewinds, if asked to."""
    if command.after is not None and draft.state.message(command.after) is None:
        raise ProtocolError("message.unknown", f"There is no message {command.after}.")
    if _busy(draft) is not None:
        if command.if_busy == "reject" or (command.after and command.if_busy == "enqueue"):
            raise _is_busy(draft)
        if command.if_busy == "interrupt" and command.after is None:
            _stop(draft, origin.principal.subject)
        elif command.if_busy == "interrupt":
            _stop_for(draft, command, origin.principal.subject)
    if command.after is not None and draft.state.messages[-1].id != command.after:
        draft.add(ev.SessionRewound(time=draft.time, after=command.after))


def _stop_for(draft: Draft, command: cmd.MessageSend | cmd.RunStart, by: str) -> None:
    """Stops what is busy, for a run that follows on an earlier message.

    Steering before that message is for this run to read; what came later starts none.
    """
    queue = draft.state.queue
    if draft.live is not None:
        waits = bool(queue)
    else:
        waits = len(queue) > 1 or queue[0].content is not None
    later = reversed(draft.state.messages)
    gone = {m.id for m in itertools.takewhile(lambda m: m.id != command.after, later)}
    kept = [m for m in draft.ledger.unread if m not in gone]
    starts = isinstance(command, cmd.RunStart) or command.start
    if waits or (kept and not starts):  # what waits would vanish with its message
        raise _is_busy(draft)
    draft.ledger.unread = []
    _stop(draft, by)
    draft.ledger.unread = kept


def _stop(draft: Draft, by: str) -> None:
    """Stops the live run, or the next if no worker has come yet, unless its message waits."""
    if draft.live is not None:
        cancel_run(draft, draft.live, by)
        return
    head = draft.state.queue[0]
    if head.content is None:
        draft.add(ev.RunCancelled(time=draft.time, run=head.id, by=by))
        make_way(draft, head.client, head.by)


def _unanswered(draft: Draft) -> str | None:
    """A person's message at the end, sent without a run or left by a run that said nothing."""
    last = draft.state.messages[-1:]
    return last[0].id if last and last[0].role == "user" else None


def _add_message(
    draft: Draft, command: cmd.MessageSend, message: str, parts: list[Part], origin: Origin
) -> None:
    draft.add(
        ev.MessageAdded(
            time=draft.time,
            message=message,
            role="user",
            parts=parts,
            by=origin.principal.subject,
            metadata=command.metadata,
        )
    )


def _queue(
    draft: Draft,
    origin: Origin,
    *,
    trigger: str | None = None,
    message: str | None = None,
    input: Any = None,  # noqa: A002 - the wire's name
    content: list[Part] | None = None,
    by: str | None = None,
    metadata: Metadata | None = None,
) -> Decision:
    """`run.queued`; claimable if nothing is before it."""
    check_queue(draft.rules.sizes, len(draft.state.queue))
    first = _busy(draft) is None
    run = draft.new_id("r")
    draft.add(
        ev.RunQueued(
            time=draft.time,
            run=run,
            client=origin.client or None,
            trigger=trigger,
            input=input,
            content=content,
            by=by or draft.guest(origin),
            metadata=metadata,
        )
    )
    if first:
        draft.wake()
    return draft.done(run=run) if message is None else draft.done(message=message, run=run)
