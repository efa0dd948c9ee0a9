"""Load, decide, append, and on a conflict again: how every command becomes true, on any replica.

The store keeps no truth: the version that an append expects is what orders all replicas.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from typing import Any

from msgspec import Struct

from gateway.auth import Grant
from gateway.broker.base import Append, Broker, Claimed, Create, StoredCommand
from gateway.errors import Conflict, Duplicate, EpochChanged, Exists, SessionMissing
from gateway.fleet.directory import Directory
from gateway.sessions import quotas as quota
from gateway.sessions.access import (
    Authorizer,
    Facts,
    Ownership,
    action_of,
    facts_of,
    grant_of,
    others_command,
    owner_key,
)
from gateway.sessions.attempt import Attempt
from gateway.sessions.by_time import first_deadline, next_deadline
from gateway.sessions.cache import SessionCache
from gateway.sessions.decide import decide_command, decide_tick
from gateway.sessions.draft import Decision, NewId, Origin, Rules
from gateway.sessions.heads import Heads, tell_auditor
from gateway.sessions.ids import derived_id, random_id
from gateway.sessions.loading import Snapshots
from gateway.sessions.quotas import Quotas, busy
from gateway.sessions.repeats import answer, answer_again, digest_of
from gateway.sessions.session import Orphan, Session
from gateway.sessions.sharing import Sharing
from gateway.sessions.sizes import check_metadata, check_tools
from protocol import commands as cmd
from protocol import events as ev
from protocol.codec import encode
from protocol.errors import ProtocolError
from protocol.frames import Ok, SessionRow
from protocol.state import Call, Message
from protocol.values import time_text

MAX_TRIES = 50
"""Conflicts in a row before a command gives up with `internal`, which may be sent again."""


PAGE_BYTES = 256 * 1024
"""What a page of messages or sessions may hold, but for its only one."""


class _Ticked(Struct, frozen=True, kw_only=True):
    """What a tick found: orphans to interrupt, and if nothing was appended, the next deadline."""

    orphans: list[Orphan] = []
    quiet: bool = False
    next: float | None = None
    version: int = 0


class Store:
    """Sessions over a broker. Every method may raise `BrokerUnavailable`.

    Cancelling a method leaves its effect unknown, as a lost connection does; sending the same
    command again finds out.
    """

    def __init__(  # noqa: PLR0913 - the parts of a process, put together in one place
        self,
        broker: Broker,
        *,
        rules: Rules | None = None,
        new_id: NewId = random_id,
        snapshots: Snapshots | None = None,
        cache: SessionCache | None = None,
        authorizer: Authorizer | None = None,
        quotas: Quotas | None = None,
        directory: Directory | None = None,
        appended: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.broker = broker
        self.rules = rules or Rules()
        self.snapshots = snapshots or Snapshots(broker)
        self._new_id = new_id
        self._quotas = quotas or Quotas()
        self.directory = directory or Directory(broker)
        self._appended = appended
        self._heads = Heads(broker, cache or SessionCache(), authorizer or Ownership())
        self.sharing = Sharing(broker, self._heads, self._quotas.shares)

    # --- for clients

    async def submit(self, command: cmd.DecidedCommand, origin: Origin) -> Ok:
        """Carries out a command, exactly once by its id, and answers when it is stored.

        Raises `ProtocolError`: then nothing was changed, and the id may be used again.
        """
        return await self._submit(command, origin, self._quotas)

    async def _submit(self, command: cmd.DecidedCommand, origin: Origin, quotas: Quotas) -> Ok:
        if isinstance(command, cmd.SessionCreate):
            return await self._create(command, origin, quotas)
        async with self._heads.turn(command.session):
            for _ in range(MAX_TRIES):
                # A session deleted meanwhile is loaded as such: a stored answer, or not found.
                with suppress(Conflict, EpochChanged, SessionMissing):
                    return await self._try(command, origin, quotas)
        raise ProtocolError("internal", "Too many conflicts; try again.", session=command.session)

    async def load(self, session: str, grant: Grant) -> Session:
        """The session at its head; valid until the next await, and read-only.

        Raises `ProtocolError` `session.not_found`.
        """
        return (await self.look(session, grant))[0]

    async def look(self, session: str, grant: Grant) -> tuple[Session, Facts]:
        """As `load`, and what was known when it was allowed."""
        async with self._heads.turn(session):
            loaded, folded = await self._heads.load(session, grant)
        return folded, facts_of(session, loaded)

    def allows(self, grant: Grant, facts: Facts) -> bool:
        """Whether a grant may read what it looked at before, if its facts have not changed."""
        try:
            self._heads.check(grant, "read", facts)
        except ProtocolError:
            return False
        return True

    async def messages(
        self, session: str, grant: Grant, before: str | None, limit: int
    ) -> tuple[list[Message], dict[str, Call], bool]:
        """At most `limit` messages before one, oldest first, their calls, and if there are more.

        No more than fit into a page, `PAGE_BYTES` of JSON, but at least one.

        Raises `ProtocolError` `session.not_found`, `message.unknown`.
        """
        state = (await self.load(session, grant)).state
        end = len(state.messages)
        if before is not None:
            places = [i for i, m in enumerate(state.messages) if m.id == before]
            if not places:
                raise ProtocolError("message.unknown", f"There is no message {before}.")
            end = places[0]
        found = state.messages[max(0, end - limit) : end]
        start = end - _fitting(reversed(found))
        return state.messages[start:end], state.calls, start > 0

    async def sessions(
        self, grant: Grant, limit: int, before: str | None
    ) -> tuple[list[SessionRow], bool]:
        """The sessions that a grant may read, the newest first, and whether there are more.

        No more than fit into a page, `PAGE_BYTES` of JSON, but at least one.
        """
        owner, more = owner_key(grant.principal), True
        rows: list[SessionRow] = []
        while more and len(rows) <= limit:
            names, more = await self.broker.sessions(
                owner, limit=limit + 1 - len(rows), before=before
            )
            for name in names:
                with suppress(ProtocolError):  # not for this token, or deleted in the meantime
                    rows.append(_row(await self.load(name, grant)))
            before = names[-1] if names else before
        shown = rows[: _fitting(rows[:limit])]
        return shown, len(rows) > len(shown)

    # --- for workers and timers

    async def attempt(self, claimed: Claimed) -> Attempt:
        """A claimed session as the worker's own copy. Raises `SessionMissing`."""
        return await Attempt.open(
            self.broker,
            claimed,
            self.snapshots,
            new_id=self._new_id,
            rules=self.rules,
            appended=self._appended,
        )

    async def tick(self, session: str) -> None:
        """Does what is due in a session; harmless when nothing is, or another process did it."""
        async with self._heads.turn(session):
            for _ in range(MAX_TRIES):
                with suppress(Conflict, EpochChanged, SessionMissing):
                    ticked = await self._tick(session)
                    break
            else:
                return
        for orphan in ticked.orphans:
            await self._stop_orphan(orphan)
        if ticked.quiet:  # only now: who crashes before has the timer still due
            await self.broker.set_timer(session, ticked.next, expect_version=ticked.version)

    async def start_child(
        self, parent: Session, agent: str, input_: Any, child: str
    ) -> tuple[str, str]:
        """A session `child` of the same owner with a run of `agent`; (session, run).

        Idempotent by `child`: a repeat answers the same. The agent's doing, so no quota of the
        owner's refuses it.
        """
        origin, free = Origin(grant_of(parent.owner), ""), Quotas()
        metadata = {"parent": parent.state.session}
        create = cmd.SessionCreate(id=child, agent=agent, session=child, metadata=metadata)
        await self._submit(create, origin, free)
        start = cmd.RunStart(id=derived_id("k", child, "run"), session=child, input=input_)
        ok = await self._submit(start, origin, free)
        assert ok.run is not None, "run.start answers with its run"
        return child, ok.run

    # --- one try

    async def _try(self, command: cmd.DecidedCommand, origin: Origin, quotas: Quotas) -> Ok:
        assert not isinstance(command, cmd.SessionCreate), "there is nothing to load yet"
        keep = not isinstance(command, cmd.ALWAYS_DECIDED_ANEW)
        key = f"{origin.tab}:{command.id}"
        loaded, session = await self._heads.load(
            command.session, origin.grant, action_of(type(command)), key if keep else ""
        )
        stored, digest = loaded.command, digest_of(command)
        if stored is not None:
            return answer_again(command, digest, stored.digest, stored.answer, stored.seq)
        if _starts_run(command):
            await self.directory.check(session.state.agent, origin.grant.agents)
        asker = owner_key(origin.principal)
        if asker != loaded.owner:
            key = others_command(asker, key)
        version, seen, was_busy = session.version, session.state.seq, busy(session)
        size = self._heads.take_out(session)
        try:
            decision = decide_command(
                session,
                command,
                origin,
                now=self.broker.now(),
                new_id=self._new_id,
                rules=self.rules,
            )
        except ProtocolError:
            if session.state.seq == seen:  # refused before it changed anything
                self._heads.put_back(session, size)
            raise
        answered = StoredCommand(key, digest, encode(decision.ok)) if keep else None
        if not decision.events:
            self._heads.put_back(session, size)
            return answer(command, decision.ok, seen)
        if busy(session) and not was_busy:
            await quota.begin(self.broker, quotas, session, version, self._heads.peek)
        try:
            seq = await self._append(session, decision, version, answered, size)
        except Duplicate as known:  # the same command arrived at another replica meanwhile
            return answer_again(command, digest, known.digest, known.answer, known.seq)
        return answer(command, decision.ok, seq)

    async def _append(
        self,
        session: Session,
        decision: Decision,
        version: int,
        command: StoredCommand | None,
        size: int,
    ) -> int:
        """Stores a decision that is folded into `session` already; caches it if it came true."""
        deadline = next_deadline(session, self.rules)
        bodies = [encode(e) for e in decision.events]
        append = Append(
            session=session.state.session,
            epoch=session.state.epoch,
            bodies=bodies,
            control=sum(isinstance(e, ev.ControlEvent) for e in decision.events),
            expect_version=version,
            raise_fence=decision.raise_fence,
            claimable_at=decision.claimable_at,
            timer_at=inf if deadline is None else deadline,
            command=command,
        )
        if decision.delete:
            for orphan in session.ledger.orphans:  # nothing ticks a deleted session
                await self._stop_orphan(orphan)
            seq = await self.broker.delete(append)
            self._appended(len(bodies))
            await quota.end(self.broker, session)
            return seq
        seq = await self.broker.append(append)
        self._appended(len(bodies))
        if seq == session.state.seq:  # else stream events came first: the copy lacks them
            self._heads.put_back(session, size + sum(len(b) for b in bodies))
            await self.snapshots.after(session, ended=decision.raise_fence)
        if decision.raise_fence and not busy(session):
            await quota.end(self.broker, session)
        return seq

    async def _tick(self, name: str) -> _Ticked:
        try:
            _, session = await self._heads.load(name, None)
        except ProtocolError:
            return _Ticked()
        version, orphans = session.version, list(session.ledger.orphans)
        size = self._heads.take_out(session)
        decision = decide_tick(
            session, now=self.broker.now(), new_id=self._new_id, rules=self.rules
        )
        if decision.events:
            await self._append(session, decision, version, None, size)
            return _Ticked(orphans=orphans)
        deadline = next_deadline(session, self.rules, orphans=False)
        self._heads.put_back(session, size)
        return _Ticked(orphans=orphans, quiet=True, next=deadline, version=version)

    async def _stop_orphan(self, orphan: Orphan) -> None:
        """Interrupts a child run whose parent has ended; it may have ended itself."""
        child = await self._heads.peek(orphan.session)
        if child is None:
            return
        origin = Origin(grant_of(child.owner), "")
        stop = cmd.RunInterrupt(
            id=derived_id("k", orphan.run, "orphan"), session=orphan.session, run=orphan.run
        )
        with suppress(ProtocolError):
            await self.submit(stop, origin)

    # --- sessions

    async def _create(self, command: cmd.SessionCreate, origin: Origin, quotas: Quotas) -> Ok:
        owner = owner_key(origin.principal)
        name = command.session or derived_id("s", owner, origin.client, command.id)
        facts = Facts(name, command.agent, origin.principal)
        self._heads.check(origin.grant, "create", facts)
        check_metadata(self.rules.sizes, command.metadata)
        check_tools(self.rules.sizes, command.tools)
        await self._check_agent(command.agent, origin, name)
        await quota.room_for_session(self.broker, quotas, owner, name)
        now = self.broker.now()
        created = ev.SessionCreated(
            time=time_text(now),
            agent=command.agent,
            metadata=command.metadata,
            tools=command.tools,
        )
        key = f"{origin.tab}:{command.id}"
        digest = digest_of(command)
        create = Create(
            session=name,
            owner=owner,
            agent=command.agent,
            bodies=[encode(created)],
            control=1,
            timer_at=first_deadline(now, self.rules),
            command=StoredCommand(key, digest, encode({"session": name})),
        )
        try:
            await self.broker.create(create)
        except Exists as known:
            try:
                return await self._existing(command, known, owner, name, key, digest)
            except ProtocolError as error:
                if known.owner != owner:
                    tell_auditor(name, origin.principal, error.code, exists=True)
                raise
        self._appended(1)
        return Ok(id=command.id, session=name)

    async def _check_agent(self, agent: str, origin: Origin, name: str) -> None:
        """Raises `ProtocolError` `agent.not_found`, unless it is about a session that exists."""
        try:
            await self.directory.check(agent, origin.grant.agents)
        except ProtocolError:
            if (await self.broker.heads([name]))[0] is None:
                raise

    async def _existing(
        self,
        command: cmd.SessionCreate,
        known: Exists,
        owner: str,
        name: str,
        key: str,
        digest: str,
    ) -> Ok:
        """The answer for a session that is there: a repeat, one's own, or not to be had."""
        if known.owner == owner:
            with suppress(SessionMissing):
                stored = (await self.broker.load(name, command=key)).command
                if stored is not None:
                    return answer_again(command, digest, stored.digest, stored.answer, 0)
            if known.agent == command.agent and not known.deleted:
                return Ok(id=command.id, session=name, existing=True)
        raise ProtocolError("session.exists", f"Session {name} exists already.", session=name)


def _starts_run(command: cmd.DecidedCommand) -> bool:
    """Whether it needs somebody to do it."""
    return isinstance(command, cmd.RunStart) or (
        isinstance(command, cmd.MessageSend) and command.start
    )


def _row(session: Session) -> SessionRow:
    state = session.state
    live = state.live_run
    status = live.status if live else "queued" if state.queue else "idle"
    if status == "idle" and state.run is not None:
        status = state.run.status
    return SessionRow(
        session=state.session,
        agent=state.agent,
        metadata=state.metadata,
        status=status,
        seq=state.seq,
        updated=session.ledger.updated,
    )


def _fitting(items: Iterable[Message | SessionRow]) -> int:
    """How many of them, from the first, make a page."""
    count = size = 0
    for item in items:
        size += len(encode(item))
        if count and size > PAGE_BYTES:
            break
        count += 1
    return count
