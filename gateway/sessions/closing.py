"""Rules that several decisions share: how a run waits, ends, and makes way for the next."""

from typing import Literal

from gateway.sessions.access import subject_of
from gateway.sessions.draft import Draft
from protocol import events as ev
from protocol.state import Run
from protocol.values import ErrorInfo

CANCELLED = ErrorInfo("tool.cancelled", "The run was cancelled.")
ENDED = ErrorInfo("tool.cancelled", "The run has ended.")


def open_things(draft: Draft) -> list[str]:
    """Client calls and approvals that the live run waits for, in the order they were asked."""
    calls = [
        c
        for c in draft.ledger.open_calls
        if (known := draft.state.calls[c]).target == "client" and known.status != "streaming"
    ]
    return [*calls, *draft.ledger.open_approvals]


def announce_wait(draft: Draft) -> None:
    """`run.waiting`, if from now on only client calls and approvals can move the run."""
    run = draft.live
    if run is None or _at_work(draft, run):
        return
    on = open_things(draft)
    if on and (run.status != "waiting" or not set(on) <= set(run.on or ())):
        draft.add(ev.RunWaiting(time=draft.time, run=run.id, on=on))


def _at_work(draft: Draft, run: Run) -> bool:
    """Whether the run has something of its own to go on with."""
    if open_message(draft, run) is not None or draft.ledger.children:
        return True
    calls = (draft.state.calls[c] for c in draft.ledger.open_calls)
    return any(c.target == "server" and c.status != "streaming" for c in calls)


def open_message(draft: Draft, run: Run) -> str | None:
    """The message that the run is writing."""
    messages = draft.state.messages
    for message in reversed(messages):
        if message.run == run.id and message.status == "open":
            return message.id
        if message.role == "user" and message.id == run.trigger:
            return None
    return None


def close_run(
    draft: Draft, run: Run, message: Literal["complete", "interrupted", "failed"], why: ErrorInfo
) -> None:
    """Everything open of the run, closed; the end event comes next (`end_run`)."""
    open_id = open_message(draft, run)
    if open_id is not None:
        draft.add(ev.MessageCompleted(time=draft.time, message=open_id, status=message))
    for call in list(draft.ledger.open_calls):
        draft.add(ev.ToolCallCompleted(time=draft.time, call=call, error=why))
    for approval in list(draft.ledger.open_approvals):
        draft.add(ev.ApprovalResolved(time=draft.time, approval=approval, decision="cancelled"))


def end_run(draft: Draft, end: ev.RunEnd, client: str | None) -> None:
    """The end event, the fence, and the next run if there is one."""
    by = draft.ledger.begun_by.get(end.run)
    draft.add(end)
    make_way(draft, client, by)


def make_way(draft: Draft, client: str | None, by: str | None) -> None:
    """The head of the queue, or a run for steering that nobody read, becomes claimable.

    `client` and `by` are whose tab the run before was of: such a run is of the same.
    """
    if by == subject_of(draft.session.owner):
        by = None
    if not draft.state.queue and draft.ledger.unread:
        draft.add(
            ev.RunQueued(
                time=draft.time,
                run=draft.new_id("r"),
                client=client,
                trigger=draft.ledger.unread[-1],
                by=by,
            )
        )
    draft.end_attempt(next_at=draft.now if draft.state.queue else None)


def cancel_run(draft: Draft, run: Run, by: str, reason: str | None = None) -> None:
    """Stops a live run."""
    close_run(draft, run, "interrupted", CANCELLED)
    end_run(draft, ev.RunCancelled(time=draft.time, run=run.id, by=by, reason=reason), run.client)


def fail_run(draft: Draft, run: Run, error: ErrorInfo) -> None:
    """Ends a live run with an error."""
    close_run(draft, run, "failed", ENDED)
    end_run(draft, ev.RunFailed(time=draft.time, run=run.id, error=error), run.client)
