"""Decisions of time: what happens when nobody does anything (docs/protocol.md).

`expire` adds the events that are due; `next_deadline` says when to look again. Both are
functions of the session and the time alone, so any process may act on them, more than once.
"""

import math

from gateway.sessions.closing import fail_run, make_way
from gateway.sessions.draft import Decision, Draft, Rules
from gateway.sessions.session import OpenCall, Session
from protocol import events as ev
from protocol.state import Call
from protocol.values import ErrorInfo, time_seconds, time_text

WAITING_FOR_WORKER = "waiting_for_worker"
EXPIRED = ErrorInfo("run.expired", "The run took too long.")
TIMEOUT = ErrorInfo("tool.timeout", "The tool did not answer in time.")
NO_CLIENT = ErrorInfo("tool.no_client", "No client took the tool call in time.")
OUTCOME_UNKNOWN = ErrorInfo(
    "tool.outcome_unknown", "The tab that executed the call vanished; it may have taken effect."
)
NO_CONSENT = ErrorInfo("tool.timeout", "Nobody decided about the call in time.")


def tick(draft: Draft) -> Decision:
    """Everything that is due now."""
    expire(draft)
    _notice_no_worker(draft)
    _expire_session(draft)
    return draft.done()


def expire(draft: Draft) -> None:
    """Closes or releases what has run out; the order is runs, approvals, calls."""
    _expire_runs(draft)
    closed = _expire_approvals(draft)
    for call_id in list(draft.ledger.open_calls):
        call = draft.state.calls[call_id]
        if call.target == "client" and call.status != "streaming":
            closed |= _expire_call(draft, call)
    if closed:
        draft.wake()


def next_deadline(session: Session, rules: Rules, *, orphans: bool = True) -> float | None:
    """When `tick` has something to do next, in seconds since the epoch; None: never.

    Orphans are due at once; whoever has just interrupted them asks without.
    """
    due = [time_seconds(t) + rules.run_ttl_s for t in session.ledger.born.values()]
    due += [
        time_seconds(session.state.approvals[a].deadline) for a in session.ledger.open_approvals
    ]
    for call_id, known in session.ledger.open_calls.items():
        due += _call_deadlines(session.state.calls[call_id], known)
    if orphans and session.ledger.orphans:
        due.append(time_seconds(session.ledger.orphans[-1].since))
    head = session.state.queue[0] if session.state.queue else None
    waits = head is not None and head.activity != WAITING_FOR_WORKER
    if waits and session.state.live_run is None:
        due.append(time_seconds(session.ledger.updated) + rules.unclaimed_notice_s)
    due.append(_abandoned_at(session, rules))
    first = min(due)
    return None if first == math.inf else first


def first_deadline(time: float, rules: Rules) -> float | None:
    """`next_deadline` of a session that is created at `time`."""
    return None if rules.session_ttl_s == math.inf else time + rules.session_ttl_s


def _abandoned_at(session: Session, rules: Rules) -> float:
    """When a session that nobody touches goes; one with a run never."""
    if session.state.live_run is not None or session.state.queue:
        return math.inf
    return time_seconds(session.ledger.updated) + rules.session_ttl_s


def _expire_session(draft: Draft) -> None:
    if _abandoned_at(draft.session, draft.rules) <= draft.now:
        draft.add(ev.SessionDeleted(time=draft.time))
        draft.delete()


def _expire_runs(draft: Draft) -> None:
    # The very sums of `next_deadline`, so that what it calls due is due here.
    ttl = draft.rules.run_ttl_s
    late = [r for r, born in draft.ledger.born.items() if time_seconds(born) + ttl <= draft.now]
    for run_id in late:
        live = draft.live
        if live is not None and live.id == run_id:
            fail_run(draft, live, EXPIRED)
        else:
            draft.add(ev.RunFailed(time=draft.time, run=run_id, error=EXPIRED))
            if live is None:
                make_way(draft, None, None)


def _expire_approvals(draft: Draft) -> bool:
    closed = False
    for approval_id in list(draft.ledger.open_approvals):
        approval = draft.state.approvals[approval_id]
        if approval.deadline > draft.time:
            continue
        closed = True
        draft.add(ev.ApprovalResolved(time=draft.time, approval=approval_id, decision="expired"))
        if approval.call is not None:
            draft.add(ev.ToolCallCompleted(time=draft.time, call=approval.call, error=NO_CONSENT))
    return closed


def _expire_call(draft: Draft, call: Call) -> bool:
    """Returns whether the call is closed now."""
    known = draft.ledger.open_calls[call.id]
    if call.deadline is not None and call.deadline <= draft.time:
        held = call.status == "claimed" or call.lease_until is not None
        error = TIMEOUT if held else NO_CLIENT
        draft.add(ev.ToolCallCompleted(time=draft.time, call=call.id, error=error))
        return True
    at = _lease_end(call, known)
    if at is None or at > draft.time:
        return False
    if call.status == "claimed":
        draft.add(ev.ToolCallReleased(time=draft.time, call=call.id, reason="lease_expired"))
        return False
    if not known.released:
        draft.add(ev.ToolCallReleased(time=draft.time, call=call.id, reason="unclaimed"))
        return False
    draft.add(ev.ToolCallCompleted(time=draft.time, call=call.id, error=OUTCOME_UNKNOWN))
    return True


def _lease_end(call: Call, known: OpenCall) -> str | None:
    """When the lease, the first tab's turn, or the last holder's grace is over."""
    if call.status == "claimed":
        return call.lease_until
    if known.released:
        return None if known.idempotent else _later(known.since, call.lease_ms)
    return None if call.client is None else _later(known.since, call.lease_ms)


def _later(time: str, milliseconds: int | None) -> str:
    return time_text(time_seconds(time) + (milliseconds or 0) / 1000)


def _call_deadlines(call: Call, known: OpenCall) -> list[float]:
    if call.target != "client" or call.status == "streaming":
        return []
    ends = (call.deadline, _lease_end(call, known))
    return [time_seconds(end) for end in ends if end is not None]


def _notice_no_worker(draft: Draft) -> None:
    """Says so, when no worker came for the next run."""
    head = draft.state.queue[0] if draft.state.queue else None
    if head is None or draft.live is not None or head.activity == WAITING_FOR_WORKER:
        return
    if time_seconds(draft.ledger.updated) + draft.rules.unclaimed_notice_s <= draft.now:
        draft.add(ev.RunActivity(time=draft.time, run=head.id, activity=WAITING_FOR_WORKER))
