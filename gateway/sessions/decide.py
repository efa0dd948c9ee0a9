"""`decide(session, input, now) -> events | refusal`: the one place where sessions change.

Pure: no I/O, no clock, no randomness but the ids given. Everything that ever happens in a session
comes from here, but for stream events: they only add content, and a fence is all that guards them.
"""

from collections.abc import Callable
from typing import Any

from gateway.sessions import by_client, by_tab, by_time, by_worker, inputs
from gateway.sessions.draft import Decision, Draft, NewId, Origin, Rules
from gateway.sessions.session import Session
from protocol import commands as cmd

_COMMANDS: dict[type, Callable[[Draft, Any, Origin], Decision]] = {
    cmd.SessionUpdate: by_client.update,
    cmd.SessionDelete: by_client.delete,
    cmd.MessageSend: by_client.send,
    cmd.RunStart: by_client.start,
    cmd.RunInterrupt: by_client.interrupt,
    cmd.ToolClaim: by_tab.claim,
    cmd.ToolRenew: by_tab.renew,
    cmd.ToolResult: by_tab.result,
    cmd.ApprovalRespond: by_tab.respond,
}
_STEPS: dict[type, Callable[[Draft, Any], Decision]] = {
    inputs.ClaimRun: by_worker.claim_run,
    inputs.StartMessage: by_worker.start_message,
    inputs.StartCall: by_worker.start_call,
    inputs.EndMessage: by_worker.end_message,
    inputs.RequestCalls: by_worker.request_calls,
    inputs.ServerResult: by_worker.server_result,
    inputs.AskApproval: by_worker.ask_approval,
    inputs.ChildStep: by_worker.child_step,
    inputs.UpdateSession: by_worker.update_session,
    inputs.CompleteRun: by_worker.complete_run,
    inputs.FailRun: by_worker.fail,
}


def decide_command(
    session: Session,
    command: cmd.DecidedCommand,
    origin: Origin,
    *,
    now: float,
    new_id: NewId,
    rules: Rules,
) -> Decision:
    """What a client's command does. Folds its events into `session`.

    Raises `ProtocolError`; `session` may then be half changed and must be thrown away, as it must
    if the events are not stored. `session.create` never comes here: there is no session yet.
    """
    return _COMMANDS[type(command)](Draft(session, now, new_id, rules), command, origin)


def decide_step(
    session: Session, step: inputs.AnyStep, *, now: float, new_id: NewId, rules: Rules
) -> Decision:
    """What a worker's step does. Folds its events into `session`.

    Raises `RuleBrokenError` for what no producer may do.
    """
    return _STEPS[type(step)](Draft(session, now, new_id, rules), step)


def decide_tick(session: Session, *, now: float, new_id: NewId, rules: Rules) -> Decision:
    """What time does. Folds its events into `session`; never refuses."""
    return by_time.tick(Draft(session, now, new_id, rules))
