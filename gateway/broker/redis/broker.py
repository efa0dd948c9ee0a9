"""The verbs in Redis: each is one script (`scripts/*.lua`), given its keys and read its answer.

Atomicity, the order of checks and every rule of the log are the scripts' business; waiting and
failing are the client's, hearing is the listener's. Time is the server's: scripts ask it, `now()`
adds an offset that every canary refreshes.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from redis.exceptions import RedisError

from gateway.broker.base import (
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
    check_bodies,
)
from gateway.broker.followers import Followers, report
from gateway.broker.redis import layout, replies
from gateway.broker.redis.announcements import Announcements
from gateway.broker.redis.appends import Appends, is_plain
from gateway.broker.redis.claims import Claims
from gateway.broker.redis.client import RedisClient
from gateway.broker.redis.listener import Listener, Rhythm
from gateway.broker.redis.listeners import Listeners
from gateway.broker.redis.owners import Owners
from gateway.broker.redis.stream import Argument
from gateway.errors import BrokerUnavailable, ConfigurationError, Exists

AGAIN_S = 1.0
"""Between two tries to begin with a server that is not there."""

TIMER_PAUSE_S = 1.0

_log = logging.getLogger(__name__)


class RedisBroker:
    """`Broker` in a Redis or Valkey at `url`; `monotonic` gives seconds."""

    def __init__(
        self,
        url: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        rhythm: Rhythm = Rhythm(),  # noqa: B008 - frozen
    ) -> None:
        self._monotonic = monotonic
        self._offset = time.time() - monotonic()
        self._client = RedisClient(url)
        self._listener = self._make_listener(rhythm)
        self._followers = Followers()
        self._owners = Owners(self._client)
        self._appends = Appends(self._client)
        self._claims = Claims(self._client)
        self._announcements = Announcements(self._client)
        # Waits for a server that was not there at the start.
        self._beginning: asyncio.Task[None] | None = None
        # channel -> session, of those that are followed
        self._channels: dict[bytes, str] = {}
        # channel -> how its only follower takes what is published, where it can
        self._hearers: dict[bytes, Callable[[bytes, bytes, bytes, bytes], bool]] = {}
        # channel -> shard
        self._wakes = {layout.wake(shard): shard for shard in range(layout.SHARDS)}
        self._hears_wakes = False

    def _make_listener(self, rhythm: Rhythm) -> Listener | Listeners:
        connect = self._client.connection
        if self._client.is_cluster:
            return Listeners(connect, self._sing, self._hear, self._missed, rhythm)
        canary = layout.canary(secrets.randbelow(layout.SHARDS), secrets.token_hex(8))
        connect_once = partial(connect, canary.encode())
        return Listener(connect_once, self._sing, canary, self._hear, self._missed, rhythm)

    async def start(self) -> None:
        try:
            await self._begin()
        except BrokerUnavailable as error:
            _log.warning("%s; it is tried again", error)
            beginning = self._begin_later()
            self._beginning = asyncio.create_task(beginning)  # noqa: TID251 - joined by close()

    async def _begin(self) -> None:
        await self._client.check()
        try:
            await self._listener.start()
            await self._listener.subscribe([layout.CONTROL])
            await self._sing("agw:{0}:canary", "")
        except (RedisError, OSError, TimeoutError) as error:
            place = self._client.place
            raise BrokerUnavailable(f"Redis at {place} cannot be listened to: {error}") from error

    async def _begin_later(self) -> None:
        last = ""
        while True:
            await asyncio.sleep(AGAIN_S)
            try:
                await self._begin()
            except (BrokerUnavailable, ConfigurationError) as error:
                if str(error) != last:
                    _log.warning("%s", error)
                last = str(error)
            except Exception:  # noqa: BLE001 - the top of a task that must not end
                _log.exception("the broker could not be started; it is tried again")
            else:
                _log.info("Redis at %s is there", self._client.place)
                self._missed()
                return

    async def close(self) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.wait((self._beginning,))
        self._followers.clear()
        self._channels.clear()
        self._hearers.clear()
        await self._listener.close()
        await self._client.close()

    def now(self) -> float:
        return self._monotonic() + self._offset

    @property
    def healthy(self) -> bool:
        return self._client.answering and self._listener.healthy

    # The log

    async def create(self, create: Create) -> Head:
        async with self._client.in_time():
            return await self._create(create)

    async def _create(self, create: Create) -> Head:
        # In this order: a list drops an id without a session, but finds no session without an id.
        await self._owners.add(create.owner, create.session, self.now())
        arguments: list[Argument] = [
            *_named(create.session),
            create.owner,
            create.agent,
            *_events(create.bodies, create.control),
            _given(create.timer_at),
        ]
        key = ""
        if create.command is not None:
            key = create.command.key
            arguments += [create.command.digest, create.command.answer]
        reply = await self._client.run(
            "create", layout.session_keys(create.session, key), arguments
        )
        try:
            epoch, seq, version, fence = replies.accepted(reply)
        except Exists as error:
            if error.owner != create.owner:
                with suppress(BrokerUnavailable):  # a list drops it later
                    await self._owners.drop(create.owner, create.session)
            raise
        return replies.head(epoch, seq, version, fence)

    async def append(self, append: Append) -> int:
        if is_plain(append):
            seq = await self._appends.append(append, _lines(append.bodies))
            if seq:
                return seq
        return await self._append(append, delete=False)

    def append_soon(self, append: Append, answered: Answered) -> None:
        if is_plain(append):
            self._appends.begin(append, _lines(append.bodies), answered)
        else:
            asyncio.get_running_loop().call_soon(answered, 0)

    async def delete(self, append: Append) -> int:
        check_bodies(append.bodies, at_least=1)
        return await self._append(append, delete=True)

    async def _append(self, append: Append, *, delete: bool) -> int:
        arguments: list[Argument] = [
            *_named(append.session),
            append.epoch,
            *_events(append.bodies, append.control),
            _given(append.expect_version),
            _given(append.fence),
            _given(append.n if append.fence is not None else None),
            "1" if append.raise_fence else "",
            _given(append.claimable_at),
            _given(append.timer_at),
            "1" if delete else "",
        ]
        key = ""
        if append.command is not None:
            key = append.command.key
            arguments += [append.command.digest, append.command.answer]
        reply = await self._client.run(
            "append", layout.session_keys(append.session, key), arguments
        )
        (seq,) = replies.accepted(reply)
        return int(seq)

    async def load(
        self,
        session: str,
        *,
        after: int = 0,
        epoch: str = "",
        command: str = "",
        asker: Asker | None = None,
    ) -> Loaded:
        keys = layout.session_keys(session, command, "" if asker is None else asker.command)
        owner = "" if asker is None else asker.owner
        reply = await self._client.run("load", keys, (*_named(session), after, epoch, owner))
        return replies.loaded(session, reply, command, asker)

    async def read(
        self, session: str, after: int, limit: int, *, epoch: str = ""
    ) -> Sequence[tuple[int, bytes]]:
        reply = await self._client.run(
            "read",
            layout.session_keys(session),
            (*_named(session), after, limit, epoch, READ_BYTES),
        )
        echoed, entries = replies.accepted(reply)
        replies.same_session(session, echoed)
        return replies.events(entries, after)

    async def heads(self, sessions: Sequence[str]) -> Sequence[Head | None]:
        by_shard: dict[int, list[str]] = {}
        for session in sessions:
            by_shard.setdefault(layout.shard_of(session), []).append(session)
        answers = await self._client.run_many(
            "heads",
            [
                ([layout.meta(session) for session in some], (layout.base(shard), *some))
                for shard, some in by_shard.items()
            ],
        )
        heads: dict[str, Head] = {}
        for some, found in zip(by_shard.values(), answers, strict=True):
            for session, head in zip(some, found, strict=True):
                if head is not None:
                    replies.same_session(session, head[0])
                    heads[session] = replies.head(*head[1:])
        return [heads.get(session) for session in sessions]

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
        keep = (keep_events, _given(keep_bytes), _given(keep_s))
        arguments = (*_named(session), epoch, seq, data, *keep)
        reply = await self._client.run("put_snapshot", layout.session_keys(session), arguments)
        return bool(reply)

    async def sessions(
        self, owner: str, *, limit: int, before: str | None
    ) -> tuple[list[str], bool]:
        async with self._client.in_time():
            return await self._owners.newest(owner, limit=limit, before=before, now=self.now())

    # Whose it is, and who else may

    async def owned(self, owner: str) -> int:
        async with self._client.in_time():
            return await self._owners.count(owner)

    async def share(
        self, session: str, principal: str, access: Share | None, *, most: int = 2**31
    ) -> bool:
        async with self._client.in_time():
            return await self._share(session, principal, access, most)

    async def _share(self, session: str, principal: str, access: Share | None, most: int) -> bool:
        # The list is in another slot; it drops an entry that leads nowhere.
        if access is not None:
            await self._owners.add(principal, session, self.now(), shared=True)
        arguments = (*_named(session), principal, access or "", most)
        reply = await self._client.run("share", layout.session_keys(session), arguments)
        (done,) = replies.accepted(reply)
        if access is None:
            await self._owners.drop(principal, session)
        return bool(done)

    async def shares(self, session: str) -> dict[str, Share]:
        reply = await self._client.run("shares", layout.session_keys(session), _named(session))
        return replies.shares(session, reply)

    async def occupy(
        self, owner: str, session: str, version: int, *, most: int, ttl_s: float
    ) -> Sequence[str] | None:
        arguments = (session, version, most, math.ceil(ttl_s), LOOKED_S)
        reply = await self._client.run("occupy", layout.busy_keys(owner), arguments)
        return None if reply == 1 else [name.decode() for name in reply]

    async def vacate(self, owner: str, session: str, version: int) -> None:
        await self._client.run("vacate", layout.busy_keys(owner)[:1], (session, version))

    # News

    async def follow(self, session: str, follower: Follower) -> None:
        self._followers.add(session, follower)
        channel = layout.channel(session)
        self._channels[channel] = session
        self._choose_hearer(channel, session)
        try:
            await self._listener.subscribe([channel])
        except BaseException:
            self.unfollow(session, follower)
            raise

    def unfollow(self, session: str, follower: Follower) -> None:
        last = self._followers.remove(session, follower)
        channel = layout.channel(session)
        self._choose_hearer(channel, session)
        if last:
            del self._channels[channel]
            self._listener.unsubscribe(channel)

    def _choose_hearer(self, channel: bytes, session: str) -> None:
        hearer = self._followers.hearer(session)
        if hearer is None:
            self._hearers.pop(channel, None)
        else:
            self._hearers[channel] = hearer.hear

    async def publish_control(self, message: bytes) -> None:
        await self._client.command("SPUBLISH", layout.CONTROL, message)

    def on_control(self, heard: OnControl) -> None:
        self._followers.add_control(heard)

    def _hear(self, channel: bytes, payload: bytes) -> None:
        hear = self._hearers.get(channel)
        if hear is not None:
            header, _, text = payload.partition(b"\n{")
            try:
                epoch, first, count, _ = header.split(b" ")
                if hear(epoch, first, count, text):
                    return
            except ValueError:  # not ours, or of a version to come
                pass
            except Exception as error:  # noqa: BLE001 - reported, and the others still hear
                report(error, f"a follower of {channel!r}")
        self._hear_slowly(channel, payload)

    def _hear_slowly(self, channel: bytes, payload: bytes) -> None:
        session = self._channels.get(channel)
        if session is not None:
            try:
                news = replies.news(session, payload)
            except ValueError:  # not ours, or of a version to come
                news = News(session, "", 0, 0, 0, ())
            self._followers.tell(news)
        elif channel == layout.CONTROL:
            self._followers.tell_control(payload)
        elif (shard := self._wakes.get(channel)) is not None:
            self._claims.hear(shard, payload)

    def _missed(self, shard: int | None = None) -> None:
        """News of a shard, or of all, may have been lost."""
        self._claims.missed()
        if shard is None:
            self._followers.tell_all()
        else:
            self._followers.tell_where(lambda session: layout.shard_of(session) == shard)

    # Beside sessions

    async def keep(self, key: str, value: bytes, *, ttl_s: float) -> None:
        await self._client.command("SET", layout.kept(key), value, "PX", max(1, int(ttl_s * 1000)))

    async def take(self, key: str) -> bytes | None:
        return await self._client.command("GETDEL", layout.kept(key))

    async def post(self, board: str, notice: bytes, *, until: float) -> None:
        await self._client.run("post", [layout.board(board)], (notice, until))

    async def posted(self, board: str) -> Sequence[bytes]:
        left = (layout.board(board), f"({self.now()}", "+inf", "BYSCORE")
        return await self._client.command("ZRANGE", *left)

    # Processes and their agents

    async def announce(self, process: str, record: bytes) -> None:
        await self._announcements.announce(process, record)

    async def withdraw(self, process: str) -> None:
        await self._announcements.withdraw(process)

    async def announced(self) -> Sequence[Announced]:
        return await self._announcements.announced(self.now())

    async def offer(self, agents: Mapping[str, bytes]) -> None:
        await self._announcements.offer(agents)

    async def offered(self) -> Offered:
        return await self._announcements.offered(self.now())

    # Runs and timers

    async def claim(self, worker: str, agents: Sequence[str], *, lease_s: float) -> Claimed | None:
        if not self._hears_wakes:
            await self._listener.subscribe(list(self._wakes))
            self._hears_wakes = True
        return await self._claims.claim(worker, agents, lease_s=lease_s, now=self.now())

    async def wait_claimable(self, agents: Sequence[str], timeout_s: float) -> None:
        await self._claims.wait(agents, timeout_s, now=self.now())

    async def renew(self, session: str, fence: int, *, lease_s: float) -> float:
        reply = await self._client.run(
            "renew", layout.session_keys(session), (*_named(session), fence, lease_s)
        )
        (lease_until,) = replies.accepted(reply)
        return float(lease_until)

    async def release(
        self,
        session: str,
        fence: int,
        *,
        claimable_at: float | None,
        expect_version: int | None = None,
    ) -> None:
        arguments = (*_named(session), fence, _given(claimable_at), _given(expect_version))
        replies.accepted(await self._client.run("release", layout.session_keys(session), arguments))

    async def due_timers(self, limit: int) -> Sequence[str]:
        async with self._client.in_time():
            return await self._due_timers(limit)

    async def _due_timers(self, limit: int) -> list[str]:
        now = self.now()
        firsts = await self._client.commands(
            [("ZRANGE", layout.timers(shard), 0, 0, "WITHSCORES") for shard in range(layout.SHARDS)]
        )
        due = sorted(
            (float(first[1]), shard)
            for shard, first in enumerate(firsts)
            if first and float(first[1]) <= now
        )
        given: list[str] = []
        for _, shard in due:
            if len(given) >= limit:
                break
            arguments = (layout.base(shard), limit - len(given), TIMER_PAUSE_S)
            timers = layout.timers(shard)
            due, deleted = await self._client.run("due_timers", [timers], arguments)
            given += (session.decode() for session in due)
            for session, owner in zip(deleted[::2], deleted[1::2], strict=True):
                await self._owners.drop(owner.decode(), session.decode())
                await self._client.command("ZREM", timers, session)
        return given

    async def set_timer(self, session: str, at: float | None, *, expect_version: int) -> None:
        arguments = (*_named(session), _given(at), expect_version)
        await self._client.run("set_timer", layout.session_keys(session), arguments)

    async def _sing(self, channel: str, text: str) -> None:
        """The canary, and with it the server's clock."""
        asked = self._monotonic()
        seconds, microseconds = await self._client.run("canary", [channel], (channel, text))
        answered = self._monotonic()
        server = int(seconds) + int(microseconds) / 1_000_000
        self._offset = server - (asked + answered) / 2


def _named(session: str) -> tuple[str, str]:
    return layout.base(layout.shard_of(session)), session


def _given(value: float | None) -> Argument:
    return "" if value is None else value


def _events(bodies: Sequence[bytes], control: int) -> tuple[Argument, ...]:
    return len(bodies), control, _lines(bodies)


def _lines(bodies: Sequence[bytes]) -> bytes:
    text = bodies[0] if len(bodies) == 1 else b"\n".join(bodies)
    if bodies and text.count(b"\n") != len(bodies) - 1:
        raise ValueError("an encoded event has no line break")
    return text
