"""Decisions on what a worker does in the run it holds (docs/protocol.md).

Pure. The rules that every producer keeps stand here; what breaks one is refused with
`RuleBrokenError` and never stored.
"""

from collections.abc import Sequence

from gateway.sessions import inputs
from gateway.sessions.by_client import change
from gateway.sessions.by_tab import request_call
from gateway.sessions.closing import (
    ENDED,
    announce_wait,
    close_run,
    end_run,
    fail_run,
    open_message,
)
from gateway.sessions.draft import Decision, Draft, RuleBrokenError
from protocol import events as ev
from protocol.state import Run
from protocol.values import ErrorInfo

UNFINISHED = ErrorInfo("tool.cancelled", "The model failed before the call was whole.")
LOST = ErrorInfo("worker.lost", "The worker of the run was lost.")


def claim_run(draft: Draft, step: inputs.ClaimRun) -> Decision:
    """Starts the next run, resumes a parked one, or retries one whose worker was lost."""
    run = draft.live
    if run is None:
        return _start_next(draft)
    if step.resume == "none":
        fail_run(draft, run, LOST)
        return draft.done()
    if step.lost and draft.ledger.losses + 1 >= draft.rules.max_losses:
        fail_run(draft, run, LOST)
        return draft.done()
    attempt = run.attempt + 1
    if step.lost:
        draft.add(ev.RunRetrying(time=draft.time, run=run.id, attempt=attempt, reason=step.reason))
    else:
        draft.add(ev.RunResumed(time=draft.time, run=run.id, attempt=attempt))
    unfinished = open_message(draft, run)
    if unfinished is not None:
        draft.add(ev.MessageCompleted(time=draft.time, message=unfinished, status="discarded"))
    announce_wait(draft)  # for what is still open
    return draft.done(run=run.id)


def _start_next(draft: Draft) -> Decision:
    if not draft.state.queue:
        return draft.done()
    head = draft.state.queue[0]
    if head.content is not None:  # the message that waited with its run becomes visible now
        assert head.trigger is not None, "a message that waits has an id"
        draft.add(
            ev.MessageAdded(
                time=draft.time,
                message=head.trigger,
                role="user",
                parts=head.content,
                by=head.by,
                metadata=head.metadata,
            )
        )
    draft.add(ev.RunStarted(time=draft.time, run=head.id))
    return draft.done(run=head.id)


def start_message(draft: Draft, step: inputs.StartMessage) -> Decision:
    """A model step begins; one at a time."""
    run = _live(draft)
    _new_message(draft, run, step.message)
    read = [m for m in step.read if m in draft.ledger.unread]
    draft.add(
        ev.MessageStarted(time=draft.time, message=step.message, run=run.id, read=read or None)
    )
    return draft.done()


def start_call(draft: Draft, step: inputs.StartCall) -> Decision:
    """The model names a tool in its open message."""
    message = open_message(draft, _live(draft))
    if message is None:
        raise RuleBrokenError("A call was started outside an open message.")
    _add_call(draft, message, step)
    return draft.done()


def end_message(draft: Draft, step: inputs.EndMessage) -> Decision:
    """The model step ended; message, requests and wait are one append."""
    if open_message(draft, _live(draft)) != step.message:
        raise RuleBrokenError(f"Message {step.message} is not the open one.")
    draft.add(
        ev.MessageCompleted(
            time=draft.time, message=step.message, status=step.status, usage=step.usage
        )
    )
    invalid = step.invalid
    if step.status == "failed":  # its calls will never be whole
        rest = _streaming(draft, step.message) - {c.call for c in step.calls} - invalid.keys()
        invalid = {**invalid, **dict.fromkeys(sorted(rest), UNFINISHED)}
    _request(draft, step.message, step.calls, invalid)
    return draft.done()


def request_calls(draft: Draft, step: inputs.RequestCalls) -> Decision:
    """Calls outside a model step, in a message of their own."""
    run = _live(draft)
    _new_message(draft, run, step.message)
    draft.add(ev.MessageStarted(time=draft.time, message=step.message, run=run.id))
    for part, call in enumerate(step.calls):
        started = inputs.StartCall(call=call.call, part=part, name=call.name, target=call.target)
        _add_call(draft, step.message, started)
    draft.add(ev.MessageCompleted(time=draft.time, message=step.message, status="complete"))
    _request(draft, step.message, step.calls, step.invalid)
    return draft.done()


def server_result(draft: Draft, step: inputs.ServerResult) -> Decision:
    """What a server tool gave; a late one changes nothing.

    A call that the agent gives up while a person is asked ends with an error, and the question too.
    """
    _live(draft)
    call = draft.session.open_call(step.call)
    if call is None:
        return draft.done()
    asked = [a for a in draft.ledger.open_approvals if draft.state.approvals[a].call == call.id]
    given_up = bool(asked) and step.error is not None
    if call.target != "server" or not (call.status == "requested" or given_up):
        raise RuleBrokenError(f"Call {step.call} is not a requested server call.")
    for approval in asked:
        draft.add(ev.ApprovalResolved(time=draft.time, approval=approval, decision="cancelled"))
    draft.add(
        ev.ToolCallCompleted(time=draft.time, call=step.call, output=step.output, error=step.error)
    )
    announce_wait(draft)
    return draft.done()


def ask_approval(draft: Draft, step: inputs.AskApproval) -> Decision:
    """Asks a person about no call in particular."""
    run = _live(draft)
    _no_open_message(draft, run)
    if step.approval in draft.state.approvals:
        raise RuleBrokenError(f"Approval {step.approval} exists already.")
    draft.add(
        ev.ApprovalRequested(
            time=draft.time,
            approval=step.approval,
            run=run.id,
            title=step.title,
            arguments=step.arguments,
            deadline=draft.after(draft.rules.run_ttl_s * 1000),
        )
    )
    announce_wait(draft)
    return draft.done()


def child_step(draft: Draft, step: inputs.ChildStep) -> Decision:
    """A run of another session began or ended."""
    run = _live(draft)
    draft.add(
        ev.RunChild(
            time=draft.time,
            run=run.id,
            call=step.call,
            child_session=step.child_session,
            child_run=step.child_run,
            agent=step.agent,
            status=step.status,
        )
    )
    announce_wait(draft)
    return draft.done()


def update_session(draft: Draft, step: inputs.UpdateSession) -> Decision:
    """The agent changes its session."""
    _live(draft)
    change(draft, step.metadata, step.tools)
    return draft.done()


def complete_run(draft: Draft, step: inputs.CompleteRun) -> Decision:
    """The agent returned; what it left open is closed."""
    run = _live(draft)
    close_run(draft, run, "complete", ENDED)
    end = ev.RunCompleted(
        time=draft.time,
        run=run.id,
        output=run.output if step.output is None else step.output,
        finish_reason=step.finish_reason,
        usage=step.usage,
    )
    end_run(draft, end, run.client)
    return draft.done()


def fail(draft: Draft, step: inputs.FailRun) -> Decision:
    """The agent, its model or its worker failed."""
    fail_run(draft, _live(draft), step.error)
    return draft.done()


def _live(draft: Draft) -> Run:
    run = draft.live
    if run is None:
        raise RuleBrokenError("There is no live run.")
    return run


def _no_open_message(draft: Draft, run: Run) -> None:
    message = open_message(draft, run)
    if message is not None:
        raise RuleBrokenError(f"Message {message} is still open.")


def _new_message(draft: Draft, run: Run, message: str) -> None:
    _no_open_message(draft, run)
    if draft.state.message(message) is not None:
        raise RuleBrokenError(f"Message {message} exists already.")


def _streaming(draft: Draft, message: str) -> set[str]:
    """Calls of a message that were started, no more."""
    calls = (draft.state.calls[c] for c in draft.ledger.open_calls)
    return {c.id for c in calls if c.message == message and c.status == "streaming"}


def _add_call(draft: Draft, message: str, step: inputs.StartCall) -> None:
    if step.call in draft.state.calls:
        raise RuleBrokenError(f"Call {step.call} exists already.")
    draft.add(
        ev.ToolCallStarted(
            time=draft.time,
            message=message,
            part=step.part,
            call=step.call,
            name=step.name,
            target=step.target,
            provider=step.provider,
        )
    )


def _request(
    draft: Draft,
    message: str,
    calls: Sequence[inputs.CallRequest],
    invalid: dict[str, ErrorInfo],
) -> None:
    """Offers all calls of a message, or asks for consent first; impossible ones complete."""
    named = [c.call for c in calls]
    if len(set(named)) != len(named) or {*named, *invalid} != _streaming(draft, message):
        raise RuleBrokenError(f"The end of message {message} must request each call it started.")
    for request in calls:
        if request.call in invalid:
            continue
        call = draft.state.calls[request.call]
        if _needs_consent(draft, request):
            draft.add(
                ev.ApprovalRequested(
                    time=draft.time,
                    approval=draft.new_id("ap"),
                    run=call.run,
                    call=call.id,
                    title=call.name,
                    arguments=request.arguments,
                    deadline=draft.after(draft.rules.run_ttl_s * 1000),
                )
            )
        else:
            request_call(draft, call, request.arguments, request.timeout_ms)
    for call_id, error in invalid.items():
        draft.add(ev.ToolCallCompleted(time=draft.time, call=call_id, error=error))
    announce_wait(draft)


def _needs_consent(draft: Draft, request: inputs.CallRequest) -> bool:
    if request.name in draft.state.remembered:
        return False
    if request.target == "server":
        return request.approval
    return any(t.approval for t in draft.state.tools if t.name == request.name)
