"""Decisions on what tabs and people do about calls and approvals (docs/protocol.md).

Pure. Time first: what has run out by now is closed or released before a tab is heard, so an answer
never depends on whether a timer was late.
"""

from typing import Any

from gateway.sessions.access import subject_of
from gateway.sessions.by_client import check_url
from gateway.sessions.by_time import expire
from gateway.sessions.closing import announce_wait
from gateway.sessions.draft import Decision, Draft, Origin
from gateway.sessions.session import same_json
from protocol import commands as cmd
from protocol import events as ev
from protocol.errors import ProtocolError
from protocol.state import Approval, Call
from protocol.values import ErrorInfo, Progress, time_seconds

DEFAULT_TIMEOUT_MS = 120_000
DEFAULT_LEASE_MS = 15_000


def claim(draft: Draft, command: cmd.ToolClaim, origin: Origin) -> Decision:
    """A tab wants to execute a call; a repeated claim of the holder is granted."""
    call = _open_call(draft, command.call)
    if not _holds(draft, call, origin):
        _take(draft, call, origin)
    _progress(draft, call, command.progress)
    return draft.done(lease_ms=_lease_ms(call))


def renew(draft: Draft, command: cmd.ToolRenew, origin: Origin) -> Decision:
    """The holder is still at it; one whose lease just ran out takes it again, if it may."""
    call = _open_call(draft, command.call)
    _take(draft, call, origin)
    _progress(draft, call, command.progress)
    return draft.done(lease_ms=_lease_ms(call))


def result(draft: Draft, command: cmd.ToolResult, origin: Origin) -> Decision:
    """The one accepted result; without a claim from a tab that could claim now."""
    call = _open_call(draft, command.call)
    _check_may(draft, call, origin)
    for index, file in enumerate(command.files or []):
        check_url(file, f"$.files[{index}].url")
    error = command.error
    draft.add(
        ev.ToolCallCompleted(
            time=draft.time,
            call=call.id,
            output=None if error is not None else command.output,
            error=error,
            files=command.files,
        )
    )
    draft.wake()
    return draft.done()


def respond(draft: Draft, command: cmd.ApprovalRespond, origin: Origin) -> Decision:
    """A person decided; the first answer wins."""
    expire(draft)
    approval = draft.state.approvals.get(command.approval)
    if approval is None:
        raise ProtocolError("approval.unknown", f"There is no approval {command.approval}.")
    if approval.decision is not None:
        raise ProtocolError("approval.closed", f"Approval {approval.id} is already resolved.")
    approved = command.decision == "approve"
    arguments = command.arguments if approved else None
    draft.add(
        ev.ApprovalResolved(
            time=draft.time,
            approval=approval.id,
            decision=command.decision,
            arguments=None if same_json(arguments, approval.arguments) else arguments,
            reason=command.reason,
            by=origin.principal.subject,
            remember=(approved and command.remember) or None,
        )
    )
    if approval.call is not None:
        _settle(draft, approval, approval.call, approved, command.reason)
    draft.wake()
    return draft.done()


def _settle(
    draft: Draft, approval: Approval, call_id: str, approved: bool, reason: str | None
) -> None:
    """What follows for the call that needed consent."""
    call = draft.state.calls[call_id]
    if approved:
        request_call(draft, call, approval.arguments)
        announce_wait(draft)
    else:
        error = ErrorInfo("tool.denied", reason or "The call was denied.")
        draft.add(ev.ToolCallCompleted(time=draft.time, call=call.id, error=error))


def request_call(
    draft: Draft, call: Call, arguments: Any, timeout_ms: int = DEFAULT_TIMEOUT_MS
) -> None:
    """Offers a call: a client tool's times are those that the page declared."""
    run, lease_ms, client = draft.state.run, None, None
    if call.target == "client":
        tool = next((t for t in draft.state.tools if t.name == call.name), None)
        lease_ms = tool.lease_ms if tool is not None else DEFAULT_LEASE_MS
        timeout_ms = tool.timeout_ms if tool is not None else DEFAULT_TIMEOUT_MS
        client = run.client if run is not None else None
    draft.add(
        ev.ToolCallRequested(
            time=draft.time,
            call=call.id,
            run=call.run,
            message=call.message,
            name=call.name,
            arguments=arguments,
            target=call.target,
            client=client,
            deadline=draft.after(timeout_ms),
            lease_ms=lease_ms,
        )
    )


def _open_call(draft: Draft, call_id: str) -> Call:
    """A call that is offered to tabs. Raises for one that is not, or not any more."""
    expire(draft)
    call = draft.state.calls.get(call_id)
    if call is None or call.target != "client":
        raise ProtocolError("tool.unknown", f"There is no client call {call_id}.")
    if call.status == "completed":
        raise ProtocolError("tool.closed", f"Call {call_id} is closed.")
    if call.status == "streaming":
        raise ProtocolError("tool.unknown", f"Call {call_id} is not offered yet.")
    return call


def _check_may(draft: Draft, call: Call, origin: Origin) -> None:
    """Raises `tool.held` unless this tab holds the call or could claim it now."""
    if call.client is None or _is_its(draft, call, origin):
        return
    known = draft.ledger.open_calls[call.id]
    if call.status == "requested" and known.released and known.idempotent:
        return
    raise ProtocolError("tool.held", f"Call {call.id} is held by another tab.")


def _is_its(draft: Draft, call: Call, origin: Origin) -> bool:
    """Whether `call.client` is this tab: another subject may use the same client id."""
    holder = draft.ledger.open_calls[call.id].holder or subject_of(draft.session.owner)
    return call.client == origin.tab and holder == origin.principal.subject


def _holds(draft: Draft, call: Call, origin: Origin) -> bool:
    """Whether it is this tab's for long enough: it renews a third of the lease after the answer."""
    if call.status != "claimed" or call.lease_until is None or not _is_its(draft, call, origin):
        return False
    return time_seconds(call.lease_until) - draft.now > _lease_ms(call) / 1000 / 2


def _take(draft: Draft, call: Call, origin: Origin) -> None:
    _check_may(draft, call, origin)
    draft.add(
        ev.ToolCallClaimed(
            time=draft.time,
            call=call.id,
            client=origin.tab,
            lease_until=draft.after(_lease_ms(call)),
            by=draft.guest(origin),
        )
    )


def _lease_ms(call: Call) -> int:
    return call.lease_ms or DEFAULT_LEASE_MS


def _progress(draft: Draft, call: Call, progress: Progress | None) -> None:
    if progress is not None:
        draft.add(
            ev.ToolCallProgress(
                time=draft.time,
                call=call.id,
                current=progress.current,
                total=progress.total,
                text=progress.text,
            )
        )
