"""The broker of one process: the log in plain lists, for the embedded default and for tests.

Same promises as the one in Redis (`base`), but for durability: no verb waits between reading and
writing, so each is atomic by itself. Nothing of a session outlives `delete` by more than a day,
nor a command's answer its 24 h.
"""

import asyncio
import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from gateway.broker.announcements import Announcements
from gateway.broker.base import (
    KEPT_S,
    LOOKED_S,
    READ_BYTES,
    Announced,
    Answered,
    Append,
    Asker,
    Claimed,
    Create,
    Follower,
    Head,
    Loaded,
    News,
    Offered,
    OnControl,
    Share,
    StoredCommand,
    check_bodies,
)
from gateway.broker.followers import Followers
from gateway.broker.memory_session import MemorySession
from gateway.broker.occupied import Occupied
from gateway.broker.schedule import Due, Schedule
from gateway.broker.shelf import Shelf
from gateway.errors import (
    BrokerError,
    Conflict,
    Duplicate,
    EpochChanged,
    Exists,
    Fenced,
    SessionMissing,
    Trimmed,
)

TIMER_PAUSE_S = 1.0


class MemoryBroker:
    """`Broker` within one process; `clock` gives seconds since the epoch, `ids` epoch ids."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        ids: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._sessions: dict[str, MemorySession] = {}
        # principal -> its sessions and those shared with it, oldest first
        self._owned: dict[str, dict[str, None]] = {}
        # agent -> session -> since when it may be claimed
        self._claimable: dict[str, Schedule] = {}
        self._timers = Schedule()
        self._followers = Followers()
        self._shelf = Shelf()
        self._announcements = Announcements()
        # What ends by itself, in order of time: (when, session, command key or "" for all of it)
        self._expiring: deque[tuple[float, str, str]] = deque()
        self._waiting: set[asyncio.Event] = set()
        self._occupied = Occupied()

    async def start(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Lets go of the followers; the sessions stay readable."""
        self._followers.clear()

    def now(self) -> float:
        return self._clock()

    @property
    def healthy(self) -> bool:
        return True

    # The log

    async def create(self, create: Create) -> Head:
        check_bodies(create.bodies)
        self._expire()
        if (there := self._sessions.get(create.session)) is not None:
            raise Exists(there.owner, there.agent, there.deleted)
        session = MemorySession(owner=create.owner, agent=create.agent, epoch=self._ids())
        self._sessions[create.session] = session
        self._owned.setdefault(create.owner, {})[create.session] = None
        self._store(create.session, session, create.bodies, create.control)
        if create.timer_at is not None:
            self._timers.set(create.session, create.timer_at)
        if create.command is not None:
            self._remember(create.session, session, create.command)
        return session.head

    async def append(self, append: Append) -> int:
        self._expire()
        seq = self._append(append, self._alive(append.session))
        # An agent that never waits for anything else would starve the followers.
        await asyncio.sleep(0)
        return seq

    def append_soon(self, append: Append, answered: Answered) -> None:
        self._expire()
        try:
            seq = self._append(append, self._alive(append.session))
        except BrokerError:
            seq = 0
        asyncio.get_running_loop().call_soon(answered, seq)

    async def delete(self, append: Append) -> int:
        self._expire()
        session = self._alive(append.session)
        check_bodies(append.bodies, at_least=1)
        before = session.seq
        seq = self._append(append, session)
        if session.seq == before:
            return seq  # a repeat
        session.trim(before)
        session.snapshot, session.snapshot_seq = None, 0
        session.deleted = True
        session.held = False
        self._schedule(session.agent).discard(append.session)
        self._timers.discard(append.session)
        self._expiring.append((self._clock() + KEPT_S, append.session, ""))
        return seq

    def _append(self, append: Append, session: MemorySession) -> int:
        check_bodies(append.bodies)
        if append.epoch != session.epoch:
            raise EpochChanged(session.epoch)
        attempt = None
        if append.fence is not None and append.n is not None:
            attempt = (append.fence, append.n)
            if attempt == session.last_n:
                return session.last_n_seq
        if append.command is not None:
            stored = session.commands.get(append.command.key)
            if stored is not None:
                raise Duplicate(stored.digest, stored.answer, stored.seq)
        if append.fence is not None and append.fence != session.fence:
            raise Fenced
        if attempt is not None and session.last_n is not None and attempt < session.last_n:
            raise Fenced
        if append.expect_version is not None and append.expect_version != session.version:
            raise Conflict
        self._store(append.session, session, append.bodies, append.control)
        if attempt is not None:
            session.last_n, session.last_n_seq = attempt, session.seq
        if append.command is not None:
            self._remember(append.session, session, append.command)
        self._set_times(append, session)
        return session.seq

    def _set_times(self, append: Append, session: MemorySession) -> None:
        if append.raise_fence:
            session.fence += 1
            session.held = False
            self._schedule(session.agent).discard(append.session)
        if append.claimable_at is not None and not session.held:
            self._schedule(session.agent).set(append.session, append.claimable_at)
            self._wake()
        if append.timer_at is not None:
            self._timers.set(append.session, append.timer_at)

    async def load(
        self,
        session: str,
        *,
        after: int = 0,
        epoch: str = "",
        command: str = "",
        asker: Asker | None = None,
    ) -> Loaded:
        self._expire()
        found = self._found(session)
        share = None
        if asker is not None and asker.owner != found.owner:
            command, share = asker.command, found.shares.get(asker.owner)
            if share is None:
                return _withheld(found)
        cached = epoch == found.epoch and max(found.trimmed, 1) <= after <= found.seq
        snapshot = None if cached or found.snapshot is None else found.snapshot
        snapshot_seq = 0 if snapshot is None else found.snapshot_seq
        start = after if cached else snapshot_seq
        return Loaded(
            head=found.head,
            owner=found.owner,
            agent=found.agent,
            snapshot=snapshot,
            snapshot_seq=snapshot_seq,
            events=() if found.deleted else tuple(found.after(start)),
            command=found.commands.get(command),
            deleted=found.deleted,
            share=share,
            log_bytes=found.log_bytes,
        )

    async def read(
        self, session: str, after: int, limit: int, *, epoch: str = ""
    ) -> Sequence[tuple[int, bytes]]:
        found = self._found(session)
        if epoch not in ("", found.epoch):
            raise EpochChanged(found.epoch)
        if after < found.trimmed:
            raise Trimmed
        start, size = after - found.trimmed, 0
        events: list[tuple[int, bytes]] = []
        for event in enumerate(found.events[start : start + limit], after + 1):
            events.append(event)
            size += len(event[1])
            if size > READ_BYTES:
                break
        return events

    async def heads(self, sessions: Sequence[str]) -> Sequence[Head | None]:
        self._expire()
        found = (self._sessions.get(session) for session in sessions)
        return [None if session is None else session.head for session in found]

    async def put_snapshot(
        self,
        session: str,
        epoch: str,
        seq: int,
        data: bytes,
        *,
        keep_events: int,
        keep_bytes: int | None = None,
        keep_s: float | None = None,
    ) -> bool:
        found = self._sessions.get(session)
        if found is None or found.deleted or epoch != found.epoch:
            return False
        if not found.snapshot_seq < seq <= found.seq:
            return False
        found.snapshot, found.snapshot_seq = data, seq
        found.trim(seq - keep_events)
        oldest = -math.inf if keep_s is None else self._clock() - keep_s
        found.trim(found.too_much(seq, keep_bytes, oldest))
        return True

    async def sessions(
        self, owner: str, *, limit: int, before: str | None
    ) -> tuple[list[str], bool]:
        self._expire()
        newest = list(reversed(self._owned.get(owner, {})))
        if before is not None:
            newest = newest[newest.index(before) + 1 :] if before in newest else []
        alive = [session for session in newest if not self._sessions[session].deleted]
        return alive[:limit], len(alive) > limit

    # Whose it is, and who else may

    async def owned(self, owner: str) -> int:
        self._expire()
        entries = (self._sessions[session] for session in self._owned.get(owner, {}))
        return sum(found.owner == owner and not found.deleted for found in entries)

    async def share(
        self, session: str, principal: str, access: Share | None, *, most: int = 2**31
    ) -> bool:
        self._expire()
        shares = self._alive(session).shares
        if access is None:
            if shares.pop(principal, None) is not None:
                self._disown(principal, session)
            return True
        if principal not in shares and len(shares) >= most:
            return False
        shares[principal] = access
        self._owned.setdefault(principal, {})[session] = None
        return True

    async def shares(self, session: str) -> dict[str, Share]:
        self._expire()
        return dict(self._alive(session).shares)

    async def occupy(
        self, owner: str, session: str, version: int, *, most: int, ttl_s: float
    ) -> Sequence[str] | None:
        now = self._clock()
        return self._occupied.enter(
            owner, session, version, most=most, now=now, until=now + ttl_s, look_s=LOOKED_S
        )

    async def vacate(self, owner: str, session: str, version: int) -> None:
        self._occupied.leave(owner, session, version)

    # News

    async def follow(self, session: str, follower: Follower) -> None:
        self._followers.add(session, follower)

    def unfollow(self, session: str, follower: Follower) -> None:
        self._followers.remove(session, follower)

    async def publish_control(self, message: bytes) -> None:
        asyncio.get_running_loop().call_soon(self._followers.tell_control, message)

    def on_control(self, heard: OnControl) -> None:
        self._followers.add_control(heard)

    # Beside sessions

    async def keep(self, key: str, value: bytes, *, ttl_s: float) -> None:
        now = self._clock()
        self._shelf.keep(key, value, now + ttl_s, now)

    async def take(self, key: str) -> bytes | None:
        return self._shelf.take(key, self._clock())

    async def post(self, board: str, notice: bytes, *, until: float) -> None:
        self._shelf.post(board, notice, until)

    async def posted(self, board: str) -> Sequence[bytes]:
        return self._shelf.posted(board, self._clock())

    # Processes and their agents

    async def announce(self, process: str, record: bytes) -> None:
        self._announcements.announce(process, record, self._clock())

    async def withdraw(self, process: str) -> None:
        self._announcements.withdraw(process)

    async def announced(self) -> Sequence[Announced]:
        return self._announcements.announced(self._clock())

    async def offer(self, agents: Mapping[str, bytes]) -> None:
        self._announcements.offer(agents, self._clock())

    async def offered(self) -> Offered:
        return self._announcements.offered(self._clock())

    # Runs and timers

    async def claim(self, worker: str, agents: Sequence[str], *, lease_s: float) -> Claimed | None:
        del worker  # whose lease it is, its fence says
        due = self._first_claimable(agents)
        now = self._clock()
        if due is None or due.at > now:
            return None
        key = due.key
        session = self._sessions[key]
        lost = session.held
        session.fence += 1
        session.held = True
        self._schedule(session.agent).set(key, now + lease_s)
        return Claimed(key, session.epoch, session.fence, now + lease_s, lost)

    async def wait_claimable(self, agents: Sequence[str], timeout_s: float) -> None:
        due = self._first_claimable(agents)
        if due is not None:
            timeout_s = min(timeout_s, due.at - self._clock())
        if timeout_s <= 0:
            return
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(event)

    async def renew(self, session: str, fence: int, *, lease_s: float) -> float:
        held = self._held(session, fence)
        end = self._clock() + lease_s
        self._schedule(held.agent).set(session, end)
        return end

    async def release(
        self,
        session: str,
        fence: int,
        *,
        claimable_at: float | None,
        expect_version: int | None = None,
    ) -> None:
        held = self._held(session, fence)
        if expect_version not in (None, held.version):
            raise Conflict
        held.held = False
        self._schedule(held.agent).set(session, math.inf if claimable_at is None else claimable_at)
        if claimable_at is not None:
            self._wake()

    async def due_timers(self, limit: int) -> Sequence[str]:
        now = self._clock()
        due: list[str] = []
        while len(due) < limit and (first := self._timers.first()) and first.at <= now:
            due.append(first.key)
            self._timers.set(first.key, now + TIMER_PAUSE_S)
        return due

    async def set_timer(self, session: str, at: float | None, *, expect_version: int) -> None:
        found = self._sessions.get(session)
        if found is None or found.deleted or found.version != expect_version:
            return
        self._timers.set(session, math.inf if at is None else at)

    # Parts

    def _found(self, session: str) -> MemorySession:
        found = self._sessions.get(session)
        if found is None:
            raise SessionMissing
        return found

    def _alive(self, session: str) -> MemorySession:
        found = self._found(session)
        if found.deleted:
            raise SessionMissing
        return found

    def _held(self, session: str, fence: int) -> MemorySession:
        found = self._sessions.get(session)
        if found is None or not found.held or found.fence != fence:
            raise Fenced
        return found

    def _store(
        self, key: str, session: MemorySession, bodies: Sequence[bytes], control: int
    ) -> None:
        if not bodies:
            return
        first = session.seq + 1
        session.events.extend(bodies)
        session.times.extend([self._clock()] * len(bodies))
        session.seq += len(bodies)
        session.version += control
        session.log_bytes += sum(len(body) for body in bodies)
        if key in self._followers:
            news = News(key, session.epoch, first, session.seq, session.version, tuple(bodies))
            asyncio.get_running_loop().call_soon(self._followers.tell, news)

    def _remember(self, key: str, session: MemorySession, command: StoredCommand) -> None:
        stored = StoredCommand(command.key, command.digest, command.answer, session.seq)
        session.commands[command.key] = stored
        self._expiring.append((self._clock() + KEPT_S, key, command.key))

    def _expire(self) -> None:
        now = self._clock()
        while self._expiring and self._expiring[0][0] <= now:
            _, key, command = self._expiring.popleft()
            session = self._sessions.get(key)
            if session is None:
                continue
            if command:
                session.commands.pop(command, None)
                continue
            del self._sessions[key]
            for principal in (session.owner, *session.shares):
                self._disown(principal, key)

    def _disown(self, principal: str, session: str) -> None:
        owned = self._owned[principal]
        owned.pop(session, None)
        if not owned:
            del self._owned[principal]

    def _schedule(self, agent: str) -> Schedule:
        return self._claimable.setdefault(agent, Schedule())

    def _first_claimable(self, agents: Sequence[str]) -> Due | None:
        firsts = (self._claimable[agent].first() for agent in agents if agent in self._claimable)
        return min((first for first in firsts if first is not None), default=None)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()


def _withheld(found: MemorySession) -> Loaded:
    return Loaded(
        head=found.head,
        owner=found.owner,
        agent=found.agent,
        snapshot=None,
        snapshot_seq=0,
        events=(),
        command=None,
        deleted=found.deleted,
        withheld=True,
    )
