"""The sessions of this process at their heads: loaded for who may, folded, one turn at a time.

What is cached is no truth, only what saves reading a log from its beginning.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from gateway import audit
from gateway.auth import Grant
from gateway.broker.base import Asker, Broker, Loaded
from gateway.errors import BrokerUnavailable, SessionMissing
from gateway.sessions.access import (
    Action,
    Authorizer,
    Facts,
    check,
    facts_of,
    not_found,
    others_command,
    owner_key,
)
from gateway.sessions.cache import SessionCache
from gateway.sessions.loading import fold_loaded, fold_on, settle
from gateway.sessions.session import Session, new_session
from protocol.errors import ProtocolError
from protocol.values import Principal


class _Turn:
    """The order of this process's commands on one session, and how often the broker failed one."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.failures = 0


class Heads:
    """Loads sessions. Every method may raise `BrokerUnavailable`."""

    def __init__(self, broker: Broker, cache: SessionCache, authorizer: Authorizer) -> None:
        self._broker = broker
        self._cache = cache
        self._authorizer = authorizer
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, session: str) -> AsyncGenerator[None]:
        """The turn of one command; who waited while the broker failed does not try it again."""
        turn = self._turns.setdefault(session, _Turn())
        failures = turn.failures
        async with turn.lock:
            if failures != turn.failures:
                raise BrokerUnavailable
            try:
                yield
            except BrokerUnavailable:
                turn.failures += 1
                raise

    def check(self, grant: Grant, action: Action, facts: Facts) -> None:
        """Raises `ProtocolError` `session.not_found`, `auth.forbidden`."""
        check(self._authorizer, grant, action, facts)

    async def load(
        self, name: str, grant: Grant | None, action: Action = "read", command: str = ""
    ) -> tuple[Loaded, Session]:
        """What the broker has, and the session at its head, put into the cache; in its turn.

        Who may not is refused before anything is folded; None is the gateway itself. Of a deleted
        session all that is left is the stored answer to `command`.
        Raises `ProtocolError` `session.not_found`, `auth.forbidden`.
        """
        cached, size = self._cache.take(name)
        after, epoch = (0, "") if cached is None else (cached.state.seq, cached.state.epoch)
        try:
            loaded = await self._admitted(name, grant, action, command, after, epoch)
        except ProtocolError:
            if cached is not None:
                self._cache.put(cached, size)
            raise
        if loaded.deleted:
            return loaded, new_session(name, loaded.head.epoch, loaded.owner)
        if cached is not None and _continues(cached, loaded):
            fold_on(cached, loaded.events)
            session = settle(cached, loaded)
        else:
            session = fold_loaded(name, loaded)
            size = len(loaded.snapshot or b"")
        self._cache.put(session, size + sum(len(body) for _, body in loaded.events))
        return loaded, session

    def take_out(self, session: Session) -> int:
        """From here on the session runs ahead of the log: nobody else may see it. Its size."""
        return self._cache.take(session.state.session)[1]

    def put_back(self, session: Session, size: int) -> None:
        """The session is at some seq of its log again."""
        self._cache.put(session, size)

    async def peek(self, name: str) -> Session | None:
        """A session, to see what it is at; in no turn, so it is not kept. None: it is gone."""
        try:
            loaded = await self._broker.load(name)
        except SessionMissing:
            return None
        return None if loaded.deleted else fold_loaded(name, loaded)

    async def _admitted(
        self, name: str, grant: Grant | None, action: Action, key: str, after: int, epoch: str
    ) -> Loaded:
        """What the broker has, if the grant may.

        Each refusal has a line in the audit log, or the time it takes would tell which it is.
        """
        asker = None
        if grant is not None:
            owner = owner_key(grant.principal)
            asker = Asker(owner, key and others_command(owner, key))
        exists = False
        try:
            loaded = await self._broker.load(
                name, after=after, epoch=epoch, command=key, asker=asker
            )
            exists = not loaded.deleted
            if loaded.deleted and loaded.command is None:
                raise not_found(name)
            if grant is None or asker is None:
                return loaded
            self.check(grant, action, facts_of(name, loaded))
            if loaded.withheld:  # the authorizer lets more in than the broker knows of
                loaded = await self._broker.load(
                    name, after=after, epoch=epoch, command=asker.command
                )
        except SessionMissing:
            refused = not_found(name)
        except ProtocolError as error:
            refused = error
        else:
            return loaded
        if grant is not None:
            tell_auditor(name, grant.principal, refused.code, exists=exists)
        raise refused


def tell_auditor(name: str, principal: Principal, code: str, *, exists: bool) -> None:
    """Writes a refusal down."""
    audit.record("refuse", "refused", principal, session=name, code=code, exists=exists)


def _continues(cached: Session, loaded: Loaded) -> bool:
    """Whether what was loaded follows what is cached."""
    head = loaded.head
    if head.epoch != cached.state.epoch or loaded.snapshot is not None:
        return False
    first = loaded.events[0][0] if loaded.events else head.seq + 1
    return first == cached.state.seq + 1
