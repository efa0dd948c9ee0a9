"""The Redis users of docs/operations.md: all that a gateway and a worker do, and nothing else."""

import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from gateway.broker.open import open_broker
from tests.broker.driving import Ear, fresh, make
from tests.conftest import StartGateway
from tests.support.processes import KeyValueServer, RedisServer, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Tab

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
LINES = re.findall(r"^ACL SETUSER (agw-\w+) (.+)$", PAGE.read_text(), re.MULTILINE)
PASSWORD = "5" * 32
USERS = ("agw-gateway", "agw-worker")
SERVERS = {"valkey": Valkey, "redis": RedisServer}


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyValueServer]:
    """A server with the users of the page, and no other that may do anything."""
    server = SERVERS[request.param](tmp_path / "redis")
    await server.start()
    try:
        async with Redis.from_url(server.url) as admin:
            for name, rules in LINES:
                given = shlex.split(rules.replace(">PASSWORD", f">{PASSWORD}"))
                await admin.execute_command("ACL", "SETUSER", name, *given)
        yield server
    finally:
        await server.kill()


def url(server: KeyValueServer, user: str) -> str:
    return server.url.replace("//", f"//{user}:{PASSWORD}@")


def test_there_is_a_line_for_each() -> None:
    assert tuple(name for name, _ in LINES) == USERS
    for _, rules in LINES:
        assert "@" not in rules  # by name, no category
        for word in ("+config", "+keys", "+flush", "+debug", "+acl", "allkeys", "allchannels"):
            assert word not in rules
        assert "~*" not in rules.split()
        assert "&*" not in rules.split()


@pytest.mark.parametrize("user", USERS)
async def test_the_verbs_of_the_broker(server: KeyValueServer, user: str) -> None:
    broker = open_broker(url(server, user))
    await broker.start()
    try:
        assert broker.healthy
        session, ear = await make(broker), Ear()
        await broker.follow(session.id, ear)
        heard: list[bytes] = []
        broker.on_control(heard.append)
        await broker.publish_control(b"hello")
        await session.append("one", control=1, claimable_at=0.0, timer_at=0.0)
        await eventually(lambda: ear.events() and heard, what="heard")
        assert [body for _, body in await broker.read(session.id, 1, 9)] == [b"one"]
        head = await session.head()
        data = b"{}"
        assert await broker.put_snapshot(session.id, head.epoch, head.seq, data, keep_events=1)
        await broker.set_timer(session.id, 0.0, expect_version=head.version)
        assert session.id in await broker.due_timers(10)
        names, _ = await broker.sessions(session.owner, limit=10, before=None)
        assert names == [session.id]
        assert await broker.owned(session.owner) == 1
        assert await broker.share(session.id, "acme:bob", "read", most=1)
        assert await broker.shares(session.id) == {"acme:bob": "read"}
        assert await broker.share(session.id, "acme:bob", None)
        assert await broker.occupy(session.owner, session.id, 1, most=1, ttl_s=9) is None
        await broker.vacate(session.owner, session.id, 1)
        await broker.keep("ticket:1", b"good", ttl_s=9)
        assert [await broker.take("ticket:1") for _ in "12"] == [b"good", None]
        await broker.post("revoked", b"word", until=broker.now() + 9)
        assert await broker.posted("revoked") == [b"word"]
        await broker.announce("p_1", b"record")
        assert [a.record for a in await broker.announced()] == [b"record"]
        await broker.offer({"cook": b"Cooks."})
        assert (await broker.offered()).agents == {"cook": b"Cooks."}
        await broker.withdraw("p_1")
        assert await broker.announced() == []
        if user == "agw-worker":
            claimed = await session.claim()
            await broker.renew(session.id, claimed.fence, lease_s=9)
            await broker.release(session.id, claimed.fence, claimable_at=None)
        await session.delete()
        assert (await broker.load(session.id)).deleted
    finally:
        await broker.close()


async def test_a_conversation_through_gateway_and_worker(
    server: KeyValueServer, gateway: StartGateway
) -> None:
    agents = ("--agents", "scripted")
    front = await gateway("--broker", url(server, "agw-gateway"), "--no-runs", *agents)
    on = ("--broker", url(server, "agw-worker"))
    worker = await gateway(*on, *agents, command="worker")
    async with Tab(front.url) as tab:
        session = await tab.create()
        await tab.subscribe(session, detail="full")
        ask = {"approve": {"title": "Go on?"}}
        run = (await tab.script(session, {"say": "Hello"}, ask, {"say": "Done"}))["run"]
        asked = await tab.wait_for("approval.requested", within=30)
        answer = {"approval": asked["approval"], "decision": "approve"}
        await tab.must({"type": "approval.respond", "session": session, **answer})
        assert (await tab.run_end(session, run))["type"] == "run.completed"
        assert tab.text(session).endswith("Done")
        assert (await tab.must({"type": "session.list"}))["sessions"]
        await tab.must({"type": "session.delete", "session": session})
    assert "NOPERM" not in front.output() + worker.output()


REFUSED = "permission|NOPERM|can't access at least one of the keys"  # Redis 7.0, of a script
FORBIDDEN = [
    "CONFIG GET *",
    "KEYS *",
    "SCAN 0",
    "FLUSHALL",
    "ACL LIST",
    "SHUTDOWN NOSAVE",
    "CLIENT KILL TYPE normal",
    "REPLICAOF NO ONE",
    "MONITOR",
    "GET somebody",
    "SET somebody 1",
    "SPUBLISH somebody 1",
    "PUBLISH agw:control 1",
    "EVAL return(redis.call('GET','somebody')) 0",
]


@pytest.mark.parametrize("user", USERS)
async def test_everything_else_is_refused(server: KeyValueServer, user: str) -> None:
    async with Redis.from_url(url(server, user), protocol=2) as client:
        for line in FORBIDDEN:
            with pytest.raises(ResponseError, match=REFUSED):
                await client.execute_command(*line.split())
        name = fresh()
        if user == "agw-gateway":
            with pytest.raises(NoPermissionError):
                await client.execute_command("ZRANGE", f"agw:{{1}}:runs:{name}", 0, -1)
