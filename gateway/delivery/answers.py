"""What a connection's commands and subscriptions are answered with, each by one coroutine.

When they are answered, in which order, and how a refusal looks is the connection's business.
"""

from gateway import audit
from gateway.delivery.subscriptions import Subscriptions
from gateway.sessions.store import Origin, Store
from protocol import commands as cmd
from protocol.detail import View
from protocol.frames import Ok

Asked = (
    cmd.DecidedCommand
    | cmd.SessionSubscribe
    | cmd.SessionUnsubscribe
    | cmd.SessionMessages
    | cmd.SessionList
)


async def answer(
    frame: Asked, store: Store, subscriptions: Subscriptions, client: str
) -> Ok | None:
    """The `ok`, or None if it is in the outbox already.

    Raises `ProtocolError` or `BrokerError`; then nothing was done.
    """
    grant = subscriptions.grant
    match frame:
        case cmd.SessionSubscribe():
            await subscriptions.subscribe(frame, frame.id)
            return None
        case cmd.SessionUnsubscribe():
            subscriptions.unsubscribe(frame.session)
            return Ok(id=frame.id)
        case cmd.SessionMessages():
            return await _messages(frame, store, subscriptions)
        case cmd.SessionList():
            rows, more = await store.sessions(grant, frame.limit, frame.before)
            return Ok(id=frame.id, sessions=rows, more=more)
        case _:
            return await carry_out(store, frame, Origin(grant, client))


async def carry_out(store: Store, command: cmd.DecidedCommand, origin: Origin) -> Ok:
    """`Store.submit`, with a line in the audit log for what an auditor asks for.

    A repeat has a line of its own, with the same `command`.
    """
    ok = await store.submit(command, origin)
    match command:
        case cmd.ApprovalRespond():
            _record(command.decision, command, origin, approval=command.approval)
        case cmd.RunInterrupt():
            _record("interrupt", command, origin, run=command.run)
        case cmd.SessionDelete():
            _record("delete", command, origin)
        case _:
            pass
    return ok


def _record(
    action: audit.Action, command: cmd.SessionCommand, origin: Origin, **names: str | None
) -> None:
    audit.record(
        action,
        "ok",
        origin.principal,
        session=command.session,
        command=command.id,
        client=origin.client or None,
        **names,
    )


async def _messages(frame: cmd.SessionMessages, store: Store, subscriptions: Subscriptions) -> Ok:
    grant = subscriptions.grant
    messages, calls, more = await store.messages(frame.session, grant, frame.before, frame.limit)
    view = subscriptions.view(frame.session) or View(grant.detail)
    seen = [view.message(message, calls) for message in messages]
    return Ok(id=frame.id, messages=seen, more=more)
