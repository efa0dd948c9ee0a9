"""How much one subject may have on all replicas together: sessions, and runs in them.

Counted in the broker beside the sessions, so a count may be wrong for a while after a crash: who
meets a full one looks, and drops what is no longer true. Nothing is counted per event.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from msgspec import Struct

from gateway.broker.base import Broker
from gateway.errors import BrokerError
from gateway.sessions.session import Session
from protocol import MAX_SEQ
from protocol.errors import ProtocolError

Look = Callable[[str], Awaitable[Session | None]]
"""A session as it is now; None: it is gone."""


class Quotas(Struct, frozen=True, kw_only=True):
    """The most of one subject; None: any number."""

    runs: int | None = None
    """Its sessions with a queued or live run."""
    sessions: int | None = None
    shares: int = 64
    """Others with whom one session is shared."""
    run_ttl_s: float = 86_400.0
    """No run lasts longer."""


def busy(session: Session) -> bool:
    """Whether a run of it is queued or live."""
    return session.state.live_run is not None or bool(session.state.queue)


async def begin(broker: Broker, quotas: Quotas, session: Session, version: int, look: Look) -> None:
    """Counts a session that is about to become busy; `version` is the one before.

    If it does not become so after all, whoever looks next drops it.
    Raises `ProtocolError` `limit.exceeded`.
    """
    if quotas.runs is None:
        return
    owner, name = session.owner, session.state.session
    for _ in range(2):
        full = await broker.occupy(
            owner, name, version, most=quotas.runs, ttl_s=2 * quotas.run_ttl_s
        )
        if full is None:
            return
        if not await _drop_idle(broker, owner, full, look):
            break
    raise ProtocolError(
        "limit.exceeded",
        f"At most {quotas.runs} sessions of one subject have a run at a time.",
        session=name,
    )


async def _drop_idle(broker: Broker, owner: str, names: Sequence[str], look: Look) -> bool:
    """Whether there is room now."""
    dropped = False
    for name in names:
        session = await look(name)
        if session is not None and session.owner == owner and busy(session):
            continue
        version = MAX_SEQ if session is None else session.version + 1
        await broker.vacate(owner, name, version)
        dropped = True
    return dropped


async def end(broker: Broker, session: Session) -> None:
    """A session is not busy any more. Never raises: the next one to look finds out."""
    with suppress(BrokerError):
        await broker.vacate(session.owner, session.state.session, session.version)


async def room_for_session(broker: Broker, quotas: Quotas, owner: str, session: str) -> None:
    """Raises `ProtocolError` `limit.exceeded` if there is none for one more, and it is new."""
    most = quotas.sessions
    if most is None or await broker.owned(owner) < most:
        return
    (there,) = await broker.heads([session])
    if there is None:
        text = f"A subject has at most {most} sessions; delete one before."
        raise ProtocolError("limit.exceeded", text, session=session)
