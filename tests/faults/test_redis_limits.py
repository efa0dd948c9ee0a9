"""Faults, Redis: buffers that overflow, pools that are empty, calls that are cancelled."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from gateway.broker.base import Broker
from gateway.broker.redis.broker import RedisBroker
from gateway.broker.redis.listener import Rhythm
from gateway.errors import BrokerUnavailable
from gateway.settings import Settings
from tests.broker.driving import Ear, Session, command, make
from tests.broker.redis.opening import asking, opened
from tests.faults.clients import Client
from tests.faults.conftest import Replicate
from tests.faults.producer import script
from tests.faults.proxy import FaultProxy
from tests.faults.trial import trial
from tests.support.composed import composed
from tests.support.processes import Valkey
from tests.support.waiting import eventually
from tests.support.wire import Frame, new_id

Proxied = Callable[[int], Awaitable[FaultProxy]]
CANCELLATIONS = 2_000
OVERFLOW = "overcoming of output buffer limits"


async def test_R6_the_listener_is_cut_for_its_backlog(
    replicate: Replicate, own: Valkey, proxied: Proxied
) -> None:
    """Redis throws the paused listener out; it comes back and reads what it missed in the log."""
    proxy = await proxied(own.port)
    proxy.only(lambda data: b"SSUBSCRIBE" in data)
    # executes the runs, and is not paused; the log keeps all, or a laggard would get the state
    await replicate(own.url, keep_events=1_000_000, keep_bytes=1 << 30)
    async with asking(own) as admin:
        await admin.config_set("client-output-buffer-limit", "pubsub 64kb 64kb 0")
        await admin.config_set("appendfsync", "no")  # a slow disk would make large batches
    settings = Settings(agents=("scripted",), runs=False, drain_ms=1_000)
    # its own watchdog is to be slower than Redis
    broker = RedisBroker(proxy.redis_url, rhythm=Rhythm(beat_s=10, deaf_s=20))
    # a batch is below the 64 KiB above which only its header is published
    talk = {"repeat": 20_000, "steps": [{"log": "x" * 2_000}, {"sleep_ms": 2}]}
    async with (
        composed(settings, broker=broker) as (_, place),
        opened(own.url) as reader,
        trial(reader) as t,
    ):
        client = await t.client(f"ws://{place}/v1/ws")
        session = await client.create()
        run = (await client.send(session, script(talk)))["run"]
        await client.event("run.log")
        proxy.pause("down")
        await eventually(lambda: OVERFLOW in own.output(), within=60, what="Redis cuts it")
        proxy.heal()
        await client.must({"type": "run.interrupt", "session": session, "run": run})
        assert (await client.run_end(run))["type"] == "run.cancelled"
        assert client.close_codes == [None]


async def test_R16_more_commands_than_connections(
    replicate: Replicate, valkey: Valkey, proxied: Proxied
) -> None:
    """Over a slow Redis each is carried out or `broker.unavailable`, never `internal`."""
    proxy = await proxied(valkey.port)
    replica = await replicate(proxy.redis_url)
    async with trial(replica.gateway.broker) as t:
        clients = [await t.client(replica.url) for _ in range(5)]
        asked: list[tuple[Client, Frame]] = []

        async def fill(client: Client) -> None:
            for _ in range(40):
                session = await client.create()
                frame = {"type": "message.send", "id": new_id("k"), "session": session}
                asked.append((client, {**frame, "content": session, "start": False}))

        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(fill(client))
        proxy.delay(0.2)
        for client in clients:
            await client.fire(*(frame for each, frame in asked if each is client))
        codes: set[str] = set()
        for client, frame in asked:
            codes |= {a.get("code", "ok") for a in await client.answers(frame["id"])}
        assert codes <= {"ok", "broker.unavailable"}, codes
        assert "ok" in codes
        proxy.heal()
        async with asyncio.TaskGroup() as group:
            for client, frame in asked:  # again by the same id: each has one effect in the end
                group.create_task(client.must(frame))


async def cancelled(work: Awaitable[object], turns: int) -> None:
    """Begins it, and cancels it after so many turns of the loop."""
    task = asyncio.ensure_future(work)  # noqa: TID251 - cancelled and awaited right here
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    (done,), _ = await asyncio.wait([task])
    if not done.cancelled() and (error := done.exception()) is not None:
        assert isinstance(error, BrokerUnavailable), error


async def test_R17_calls_cancelled_at_every_point(own: Valkey) -> None:
    """No verb ever gets another's answer, and no connection is lost."""
    dice = random.Random(17)
    async with opened(own.url) as broker:
        sessions = [await make(broker, agent=f"agent-{at}") for at in range(10)]
        ears = [Ear() for _ in sessions]
        for round_ in range(CANCELLATIONS):
            at = round_ % len(sessions)
            await cancelled(any_verb(broker, sessions[at], ears[at], dice), dice.randrange(12))
            if round_ % 10 == 0:
                await check(broker, sessions[(at + 3) % len(sessions)])
        for session, ear in zip(sessions, ears, strict=True):
            await check(broker, session)
            broker.unfollow(session.id, ear)
        async with asking(own) as admin:
            ours = [c for c in await admin.client_list() if c["name"] == "agent-gateway"]
            assert len(ours) <= 60, "connections of cancelled calls are left behind"


def any_verb(
    broker: RedisBroker, session: Session, ear: Ear, dice: random.Random
) -> Awaitable[object]:
    """One call of the contract."""
    match dice.randrange(9):
        case 0:
            return session.append(f'{{"of":"{session.id}"}}')
        case 1:
            return session.append(f'{{"of":"{session.id}"}}', command=command(f"c:{dice.random()}"))
        case 2:
            return broker.load(session.id)
        case 3:
            return broker.read(session.id, 0, 100)
        case 4:
            return broker.heads([session.id])
        case 5:
            return broker.sessions(session.owner, limit=10, before=None)
        case 6:
            return broker.claim("worker", [session.agent], lease_s=0.01)
        case 7:
            return broker.due_timers(5)
        case _:
            return broker.follow(session.id, ear)


async def check(broker: Broker, session: Session) -> None:
    """Every answer is about this session."""
    loaded = await broker.load(session.id)
    assert (loaded.owner, loaded.agent) == (session.owner, session.agent)
    (head,) = await broker.heads([session.id])
    assert head is not None
    assert head.epoch == session.epoch
    events = await broker.read(session.id, 1, 10_000)
    assert [seq for seq, _ in events] == list(range(2, 2 + len(events)))
    assert {body for _, body in events} <= {f'{{"of":"{session.id}"}}'.encode()}
