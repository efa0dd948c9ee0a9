"""What the broker in Redis does when the server forgets, hangs, restarts or fails over."""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.broker.redis.broker import RedisBroker
from gateway.errors import (
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    EpochChanged,
    SessionMissing,
)
from tests.broker.driving import Ear, Session, command, fresh, make
from tests.broker.redis.cable import cable
from tests.broker.redis.opening import asking, back, opened
from tests.support.processes import KeyValueServer, Valkey, free_port
from tests.support.waiting import eventually


def every_verb(session: Session) -> dict[str, Callable[[], Coroutine[Any, Any, Any]]]:
    broker, key = session.broker, session.id
    return {
        "create": lambda: make(broker),
        "append": lambda: session.append("a"),
        "load": lambda: broker.load(key),
        "read": lambda: broker.read(key, 0, 9),
        "heads": lambda: broker.heads([key]),
        "put_snapshot": lambda: broker.put_snapshot(key, session.epoch, 1, b"", keep_events=9),
        "delete": session.delete,
        "sessions": lambda: broker.sessions(session.owner, limit=9, before=None),
        "claim": lambda: broker.claim("worker", [fresh("agent")], lease_s=9),
        "renew": lambda: broker.renew(key, 1, lease_s=9),
        "release": lambda: broker.release(key, 1, claimable_at=None),
        "due_timers": lambda: broker.due_timers(9),
        "set_timer": lambda: broker.set_timer(key, None, expect_version=1),
        "follow": lambda: broker.follow(fresh(), Ear()),
    }


class TestForgetting:
    async def test_scripts(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker, asking(server) as admin:
            some = [await make(broker) for _ in range(9)]
            await admin.script_flush()
            assert await some[0].append("a") == 2
            await admin.script_flush()
            heads = await broker.heads([session.id for session in some])
            assert [head.seq for head in heads if head] == [2, 1, 1, 1, 1, 1, 1, 1, 1]

    async def test_everything(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker:
            session, ear = await make(broker, "1", "2"), Ear()
            await broker.follow(session.id, ear)
            await server.flush()
            with pytest.raises(SessionMissing):
                await session.append("a")
            with pytest.raises(SessionMissing):
                await broker.load(session.id)
            again = await make(broker, session=session.id, owner=session.owner)
            assert again.epoch != session.epoch
            with pytest.raises(EpochChanged):
                await session.append("a")
            await eventually(lambda: ear.heard and ear.heard[-1].epoch == again.epoch)

    async def test_the_log_alone(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker, asking(server) as admin:
            session = await make(broker, "1", "2")
            await admin.delete(*await admin.keys(f"*{session.id}:log"))
            with pytest.raises(SessionMissing):
                await session.append("a")
            assert await admin.keys(f"agw:*{session.id}*") == []
            assert await broker.sessions(session.owner, limit=9, before=None) == ([], False)

    async def test_the_log_but_not_the_snapshot(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker, asking(server) as admin:
            session = await make(broker, "1", "2", "3")
            await broker.put_snapshot(session.id, session.epoch, 2, b"at 2", keep_events=9)
            await admin.delete(*await admin.keys(f"*{session.id}:log"))
            with pytest.raises(EpochChanged) as caught:
                await session.append("a")
            loaded = await broker.load(session.id, after=3, epoch=session.epoch)
            assert (loaded.head.epoch, loaded.head.seq) == (caught.value.epoch, 2)
            assert (loaded.snapshot, list(loaded.events)) == (b"at 2", [])
            assert await session.append("b", epoch=caught.value.epoch) == 3

    async def test_the_snapshot_alone(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker, asking(server) as admin:
            session = await make(broker, "1", "2", "3")
            await session.append("4")
            await broker.put_snapshot(session.id, session.epoch, 3, b"at 3", keep_events=0)
            await admin.delete(*await admin.keys(f"*{session.id}:snap"))
            with pytest.raises(SessionMissing):
                await broker.load(session.id)

    async def test_the_meta_alone(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker, asking(server) as admin:
            session = await make(broker, "1", "2", "3")
            await session.append("4", claimable_at=0.0, timer_at=0.0)
            await admin.delete(*await admin.keys(f"*{session.id}:meta"))
            with pytest.raises(SessionMissing):
                await session.append("a")
            assert await broker.due_timers(9) == []
            assert await broker.claim("worker", [session.agent], lease_s=9) is None
            again = await make(broker, "new", session=session.id, owner=session.owner)
            assert await again.events() == [(1, b"new")]


class TestRestart:
    async def test_with_everything_on_the_disk(self, durable: KeyValueServer) -> None:
        async with opened(durable.url) as broker:
            session, ear = await make(broker, "1"), Ear()
            await session.append("2", claimable_at=0.0)
            fence = (await session.claim(lease_s=3600)).fence
            await session.append("3", fence=fence, n=1)
            await broker.follow(session.id, ear)
            await durable.restart()
            head = await back(session.head)
            assert head.epoch != session.epoch, "nobody knows what a restart lost"
            assert (head.seq, head.fence) == (3, fence)
            with pytest.raises(EpochChanged) as caught:
                await session.append("4", fence=fence, n=2)
            assert caught.value.epoch == head.epoch
            loaded = await broker.load(session.id)
            assert list(loaded.events) == [(1, b"1"), (2, b"2"), (3, b"3")]
            await eventually(lambda: ear.told_to_look, what="followers are told")
            # The live attempt goes on, in the new epoch; its repeat is still known.
            session.epoch = head.epoch
            assert await session.append("3", fence=fence, n=1) == 3
            assert await session.append("4", fence=fence, n=2) == 4
            await broker.renew(session.id, fence, lease_s=3600)
            await eventually(lambda: ear.events()[-1:] == [(4, b"4")])

    async def test_epoch_changes_once(self, durable: KeyValueServer) -> None:
        async with opened(durable.url) as broker:
            session = await make(broker)
            await durable.restart()
            epochs = {(await back(session.head)).epoch for _ in range(3)}
            epochs.add((await broker.load(session.id)).head.epoch)
            with pytest.raises(EpochChanged) as caught:
                await broker.read(session.id, 0, 9, epoch=session.epoch)
            assert epochs == {caught.value.epoch}

    async def test_fences_of_the_lost_tail_do_not_come_again(self, durable: KeyValueServer) -> None:
        async with opened(durable.url) as broker:
            session = await make(broker)
            await session.append(claimable_at=0.0)
            fence = (await session.claim(lease_s=0.0)).fence
            await durable.restart()
            await back(session.head)
            session.epoch = (await session.head()).epoch
            await session.append("stop", raise_fence=True, claimable_at=0.0)
            again = await session.claim()
            assert again.epoch == session.epoch
            assert again.fence > fence + 1000
            assert (await session.head()).fence == again.fence

    async def test_nor_those_of_two_lost_tails(self, durable: KeyValueServer) -> None:
        """The second loses what was claimed after the first."""
        async with opened(durable.url) as broker:
            session = await make(broker)
            await session.append(claimable_at=0.0)
            fence = (await session.claim(lease_s=0.0)).fence
            for _ in range(2):
                await durable.restart()
                await back(session.head)
            session.epoch = (await session.head()).epoch
            await session.append("stop", raise_fence=True, claimable_at=0.0)
            assert (await session.claim()).fence > fence + 2_000_000

    async def test_with_a_snapshot(self, durable: KeyValueServer) -> None:
        async with opened(durable.url) as broker:
            session = await make(broker, "1", "2", "3")
            await session.append("4")
            await broker.put_snapshot(session.id, session.epoch, 3, b"at 3", keep_events=0)
            await durable.restart()
            head = await back(session.head)
            loaded = await broker.load(session.id)
            assert (loaded.snapshot, loaded.snapshot_seq) == (b"at 3", 3)
            assert list(loaded.events) == [(4, b"4")]
            put = broker.put_snapshot
            assert not await put(session.id, session.epoch, 4, b"old", keep_events=9)
            assert await put(session.id, head.epoch, 4, b"new", keep_events=9)

    async def test_with_nothing_on_the_disk(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker:
            session, ear = await make(broker), Ear()
            await broker.follow(session.id, ear)
            await server.restart()
            await eventually(lambda: ear.told_to_look, what="followers are told")
            with pytest.raises(SessionMissing):
                await back(lambda: broker.load(session.id))

    async def test_deleted_session_stays_deleted(self, durable: KeyValueServer) -> None:
        async with opened(durable.url) as broker:
            session = await make(broker)
            await session.delete()
            await durable.restart()
            assert (await back(lambda: broker.load(session.id))).deleted
            with pytest.raises(SessionMissing):
                await session.append("a")


class TestFailover:
    async def test_lost_tail(self, tmp_path: Path) -> None:
        async with AsyncExitStack() as stack:
            old, new = (
                Valkey(tmp_path / name, options={"repl-diskless-sync-delay": "0"})
                for name in ("old", "new")
            )
            for server in (old, new):
                await server.start()
                stack.push_async_callback(server.kill)
            before = await stack.enter_async_context(opened(old.url))
            admin = await stack.enter_async_context(asking(new))
            await admin.replicaof("127.0.0.1", old.port)

            async def attached() -> bool:
                return (await admin.info("replication")).get("master_link_status") == "up"

            # A server's first replica gives it another replication id, and sessions an epoch.
            await eventually(attached, what="the replica is there")
            session = await make(before, "1", "2")

            async def replicated() -> bool:
                return bool(await admin.keys(f"*{session.id}:log"))

            await eventually(replicated, what="the replica has everything")
            await admin.replicaof("NO", "ONE")
            assert await session.append("lost") == 3

            after = await stack.enter_async_context(opened(new.url))
            survivor = Session(after, session.id, session.owner, session.agent, session.epoch)
            with pytest.raises(EpochChanged) as caught:
                await survivor.append("a")
            survivor.epoch = caught.value.epoch
            assert (await survivor.head()).seq == 2
            assert await survivor.append("kept") == 3
            with pytest.raises(EpochChanged):
                await after.read(session.id, 2, 9, epoch=session.epoch)


class TestHanging:
    async def test_every_verb_gives_up_in_time(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker:
            session = await make(broker)
            await session.append("a", claimable_at=broker.now() + 3600)
            assert await broker.claim("worker", [session.agent], lease_s=9) is None
            server.pause()

            async def failing(name: str, verb: Callable[[], Coroutine[Any, Any, Any]]) -> None:
                started = time.monotonic()
                with pytest.raises(BrokerUnavailable):
                    await verb()
                assert time.monotonic() - started < 15, name

            async with asyncio.TaskGroup() as group:
                for name, verb in every_verb(session).items():
                    group.create_task(failing(name, verb))
            server.resume()
            # What was sent has its effect all the same: the session may be deleted by now.
            assert (await back(session.head)).seq >= 2
            await eventually(lambda: broker.healthy, what="it is healthy again")

    async def test_followers_hear_again(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker:
            session, ear = await make(broker), Ear()
            await broker.follow(session.id, ear)
            server.pause()
            with pytest.raises(BrokerUnavailable):
                await session.append("a")
            await eventually(lambda: not broker.healthy)
            server.resume()
            await eventually(lambda: broker.healthy)
            seq = await back(lambda: session.append("b"))
            await eventually(lambda: ear.events()[-1:] == [(seq, b"b")])


class TestRefusing:
    async def test_out_of_memory(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker, asking(server) as admin:
            session = await make(broker)
            await session.append(claimable_at=0.0)
            fence = (await session.claim()).fence
            await admin.config_set("maxmemory", "1")
            with pytest.raises(BrokerUnavailable, match="memory"):
                await session.append("a")
            assert len((await broker.load(session.id)).events) == 1, "reading goes on"
            await broker.renew(session.id, fence, lease_s=9)
            await admin.config_set("maxmemory", "0")
            assert await session.append("a") == 2

    async def test_read_only(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker, asking(server) as admin:
            session = await make(broker)
            await admin.config_set("replica-serve-stale-data", "yes")
            await admin.replicaof("127.0.0.1", free_port())
            with pytest.raises(BrokerUnavailable):
                await session.append("a")
            await admin.replicaof("NO", "ONE")
            with pytest.raises(EpochChanged):
                await session.append("a")

    async def test_a_broken_key_is_not_retried_for_ever(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker, asking(server) as admin:
            session = await make(broker)
            (log,) = await admin.keys(f"*{session.id}:log")
            await admin.delete(log)
            await admin.set(log, "nonsense")
            with pytest.raises(BrokerError) as caught:
                await session.append("a")
            assert not isinstance(caught.value, BrokerUnavailable)


class LockedValkey(Valkey):
    async def ready(self) -> bool:
        try:
            return (await self.command("PING")).startswith("-NOAUTH")
        except OSError:
            return False


class TestStart:
    async def test_nobody_there(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        server = Valkey(tmp_path)
        broker = RedisBroker(server.url)
        await broker.start()
        try:
            assert f"Redis at 127.0.0.1:{server.port} refused the connection" in caplog.text
            assert "redis-server" in caplog.text
            assert "--broker memory://" in caplog.text
            assert not broker.healthy
            with pytest.raises(BrokerUnavailable):
                await broker.heads(["s_1"])
            await server.start()
            await eventually(lambda: broker.healthy, what="it has begun")
            await make(broker)
        finally:
            await broker.close()
            await server.kill()

    async def test_wrong_password(self, tmp_path: Path) -> None:
        async with AsyncExitStack() as stack:
            server = LockedValkey(tmp_path, options={"requirepass": "right"})
            await server.start()
            stack.push_async_callback(server.kill)
            place = f"127.0.0.1:{server.port}"
            async with opened(f"redis://:right@{place}/0") as broker:
                assert broker.healthy
            for url in (f"redis://:wrong@{place}", f"redis://{place}"):
                refused = RedisBroker(url)
                with pytest.raises(ConfigurationError, match=r"password|[Aa]uth") as caught:
                    await refused.start()
                await refused.close()
                assert "wrong" not in str(caught.value)

    @pytest.mark.parametrize("url", ["redis://127.0.0.1:nonsense", "redis://h/x?db=nonsense"])
    def test_url_that_cannot_be_read(self, url: str) -> None:
        with pytest.raises(ConfigurationError):
            RedisBroker(url)


class TestLostReplies:
    async def test_append_that_was_stored(self, server: KeyValueServer) -> None:
        async with cable(server.port) as wire, opened(wire.url) as broker:
            session = await make(broker)
            await session.append(claimable_at=0.0)
            fence = (await session.claim()).fence
            wire.lose_replies = True
            with pytest.raises(BrokerUnavailable):
                await session.append("a", fence=fence, n=1)
            assert (await session.head()).seq == 2, "it was stored"
            assert await session.append("a", fence=fence, n=1) == 2
            assert await session.events(1) == [(2, b"a")]

    async def test_cancelled_calls_leave_no_answers_behind(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker:
            some = [await make(broker) for _ in range(20)]
            for i in range(200):
                task = asyncio.create_task(some[i % 20].append(f"{i}"))  # noqa: TID251 - cancelled
                for _ in range(i % 7):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait((task,))
                session = some[(i + 1) % 20]
                loaded = await broker.load(session.id)
                assert loaded.owner == session.owner


class TestKeys:
    async def test_are_those_of_the_design(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker, asking(server) as admin:
            session = await make(broker, owner="acme:ann", agent="echo")
            await session.append("a", claimable_at=0.0, timer_at=broker.now() + 3600)
            await broker.put_snapshot(session.id, session.epoch, 1, b"", keep_events=9)
            await session.append("b", command=command())
            keys = {key.decode() for key in await admin.keys("*")}
            (tag,) = {match[0] for key in keys if (match := re.search(r"{(\d+)}", key))}
            names = [
                f"s:{session.id}:meta",
                f"s:{session.id}:log",
                f"s:{session.id}:snap",
                f"cmd:{session.id}:client:id",
                "runs:echo",
                "timers",
            ]
            assert keys == {*(f"agw:{tag}:{name}" for name in names), "agw:owner:acme:ann"}
            assert 86_000 < await admin.ttl(f"agw:{tag}:cmd:{session.id}:client:id") <= 86_400
            entry = (await admin.xrange(f"agw:{tag}:s:{session.id}:log"))[-1]
            name, fields = entry
            at = int(fields.pop(b"at")) / 1000
            assert at == pytest.approx(broker.now(), abs=5)
            assert name == b"3-0"
            # created, a, b
            assert fields == {b"first": b"3", b"count": b"1", b"bodies": b"b", b"bytes": b"9"}

    async def test_of_a_deleted_session_end_by_themselves(self, server: KeyValueServer) -> None:
        async with opened(server.url) as broker, asking(server) as admin:
            session = await make(broker)
            await session.append("a", claimable_at=0.0, timer_at=broker.now() + 3600)
            await broker.put_snapshot(session.id, session.epoch, 1, b"", keep_events=9)
            await session.delete(command=command())

            async def names() -> list[str]:
                await broker.due_timers(9)  # by its own reading of the server's clock
                return sorted(key.decode().rpartition(":")[2] for key in await admin.keys("*"))

            async def tidied() -> bool:
                return await names() == ["id", "log", "meta"]

            await eventually(tidied, what="only what ends by itself is left")
            for key in await admin.keys("*"):
                assert 86_000 < await admin.ttl(key) <= 86_400
