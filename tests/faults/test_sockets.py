"""Faults, Client misbehaviour and Resource exhaustion: what sockets do to a gateway.

Real processes where memory and descriptors are measured, one of this process elsewhere. Sizes are
compared with bounds far below what the unhardened server took; nothing has to be quick.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from websockets.frames import Opcode

from gateway.delivery.outbox import TURN_BYTES
from gateway.settings import Settings
from gateway.transports import sockets as sockets_module
from tests.broker.redis.opening import opened
from tests.conftest import StartGateway
from tests.delivery.test_admission import MIB, Given
from tests.faults.conftest import LEASE_OPTIONS, SCALE, Replica, Replicate
from tests.faults.producer import Story, script
from tests.faults.proxy import FaultProxy
from tests.faults.trial import trial
from tests.support.http import http_client
from tests.support.inprocess import connected, delta, in_process, raw_socket, serving
from tests.support.processes import GatewayProcess, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Tab
from tests.test_server import close_code, framed, handshake, until_closed

Proxied = Callable[[int], Awaitable[FaultProxy]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HELLO = framed(b'{"type":"hello"}')
IDLE_BYTES = 40_000
CHURN_PER_S, AT_ONCE = 500, 50
POOLED = 50
"""Connections to Redis are kept for the next command, at most so many."""

BLOCKING = """
import time

async def blocker(run):
    time.sleep(600)
"""


@pytest.fixture
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets_module, "LINGER_S", 0.2)


@asynccontextmanager
async def greeted(port: int, hello: bytes = HELLO) -> AsyncGenerator[Streams]:
    """A raw client that has said hello and was welcomed."""
    async with raw_socket(port) as (reader, writer):
        writer.write(handshake())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(hello)
        await reader.readuntil(b"agent-gateway")
        yield reader, writer


def stop_reading(reader: asyncio.StreamReader) -> None:
    """From now on the socket fills up."""
    reader._transport.pause_reading()  # type: ignore[attr-defined]


async def metric(http_url: str, name: str) -> float:
    """One sample of `/metrics`, labels in the name; 0 if it is not there."""
    async with http_client(http_url) as client:
        text = (await client.get("/metrics")).text
    found = re.search(rf"^agent_gateway_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def peak_bytes(process: GatewayProcess) -> int:
    """The most memory that it ever occupied."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def descriptors(process: GatewayProcess) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


async def emptied(process: GatewayProcess) -> None:
    """Nothing is left of any connection."""

    async def nobody() -> bool:
        return await metric(process.http_url, "connections") == 0

    await eventually(nobody, what="nobody is connected")


# --- Network


async def test_N3_a_client_that_never_reads_again(replicate: Replicate, proxied: Proxied) -> None:
    """4458 and an abort; the run, the others and in the end the client itself are unharmed."""
    replica = await replicate(write_timeout_ms=3_000)
    proxy = await proxied(replica.port)
    big = {"repeat": 1_000, "steps": [{"log": "x" * 16_000}]}
    async with trial(replica.gateway.broker) as t:
        frozen = await t.client(proxy.url)
        watcher = await t.client(replica.url)
        session = await frozen.create()
        await watcher.follow(session)
        proxy.pause()
        run = (await watcher.send(session, script(big)))["run"]
        roster = replica.gateway.roster
        await eventually(lambda: len(roster) == 1, within=20, what="the frozen one is freed")
        await watcher.run_end(run)
        closed = replica.gateway.metrics.render()[0]
        assert b'connections_closed_total{code="4458"} 1.0' in closed
        proxy.heal()
        await frozen.back(1)
        # so much is not kept for a resume: it may be the state that tells
        await frozen.until(
            lambda: (ended := frozen.states[session].run) and ended.status == "completed",
            what="it has caught up",
        )


# --- Client misbehaviour


async def test_C1_no_hello(replicate: Replicate) -> None:
    replica = await replicate(hello_ms=200)
    async with Tab(replica.url, hello=False) as tab:
        assert await tab.wait_closed() == 4454
    await eventually(lambda: len(replica.gateway.roster) == 0)


async def test_C2_commands_before_hello_and_a_second_hello(replica: Replica) -> None:
    async with Tab(replica.url, hello=False) as tab:
        since = tab.mark()
        await tab.send({"type": "session.create", "id": "k_1", "agent": "echo"})
        error = await tab.wait_for("error", since=since)
        assert (error["code"], error["id"]) == ("frame.malformed", "k_1")
        await tab.send({"type": "hello"})
        await tab.wait_for("welcome")
        since = tab.mark()
        await tab.send({"type": "hello"})
        assert (await tab.wait_for("error", since=since))["code"] == "frame.malformed"
        await tab.must({"type": "session.create", "agent": "echo"})


async def test_C3_a_ping_flood_that_is_never_read(gateway: StartGateway) -> None:
    served = await gateway()
    flood = framed(b"x" * 125, Opcode.PING) * 100

    async def once() -> None:
        async with greeted(served.port) as (reader, writer):
            stop_reading(reader)
            while not writer.is_closing():
                writer.write(flood)
                await asyncio.sleep(0)
        await emptied(served)

    await once()
    before = peak_bytes(served)
    await once()
    assert peak_bytes(served) - before <= MIB
    assert await metric(served.http_url, 'connections_closed_total{code="1005"}') == 2


@pytest.mark.parametrize("size", [0, 2])
async def test_C4_a_million_fragments(gateway: StartGateway, size: int) -> None:
    served = await gateway()
    fragments = framed(b" " * size, Opcode.CONT, fin=False) * 10_000
    before = peak_bytes(served)
    async with Tab(served.url) as tab, greeted(served.port) as (reader, writer):
        writer.write(framed(b"{", fin=False))
        async with asyncio.TaskGroup() as group:
            end = group.create_task(until_closed(reader))
            for _ in range(100):
                if writer.is_closing() or end.done():
                    break
                writer.write(fragments)
                await asyncio.sleep(0)
        assert close_code(end.result()) == 1009
        await tab.must({"type": "session.create", "agent": "echo"})
    assert peak_bytes(served) - before <= 4 * MIB


async def test_C5_a_flood_of_commands(replicate: Replicate) -> None:
    """First each is refused, then the connection is."""
    replica = await replicate(frames_per_s=1, frames_burst=10)
    async with Tab(replica.url) as tab, Tab(replica.url) as other:
        lists = [{"type": "session.list", "id": f"k_{n}"} for n in range(200)]
        await tab.send(*lists)
        assert await tab.wait_closed() == 4479
        refused = tab.find("error")
        assert {frame["code"] for frame in refused} == {"rate.limited"}
        assert all(frame["retryable"] and frame["id"] for frame in refused)
        assert len(refused) == 50
        assert other.close_code is None


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(framed(b"", Opcode.PONG), id="unsolicited pongs"),
        pytest.param(framed(b"{}"), id="tiny messages"),
        pytest.param(framed(b""), id="empty messages"),
    ],
)
@pytest.mark.usefixtures("short_linger")
async def test_C5_a_flood_of_tiny_frames(replica: Replica, flood: bytes) -> None:
    async with Tab(replica.url) as tab:
        async with greeted(replica.port) as (reader, writer):
            writer.write(flood * 10_000)
            assert close_code(await until_closed(reader)) in (4400, 4479)
        await tab.must({"type": "session.create", "agent": "echo"})
        await eventually(lambda: len(replica.gateway.roster) == 1)


async def test_C6_a_client_that_never_acknowledges(gateway: StartGateway) -> None:
    """One session stops at its window; the others of the socket do not; after a time 4458."""
    window = 16
    served = await gateway("--agents", "scripted", "--ack-timeout-ms=6000")
    big = {"repeat": 40, "steps": [{"say": "x" * 50_000, "chunk": 500}]}
    async with Tab(served.url) as tab:
        stuck, free = await tab.create(), await tab.create()
        await tab.subscribe(stuck, detail="full", window=window)
        await tab.subscribe(free, detail="full")
        before = served.resident_bytes()
        await tab.script(stuck, big)
        ok = await tab.script(free, {"say": "Hi"})
        await tab.run_end(free, ok["run"])
        assert len(tab.events(stuck)) <= window
        assert await tab.wait_closed(20) == 4458
        assert len(tab.events(stuck)) == window
        tab.assert_dense(stuck)
    assert served.resident_bytes() - before < 32 * MIB
    await emptied(served)


async def test_C16_a_close_that_is_not_finished(gateway: StartGateway) -> None:
    """Its own that it leaves open, the gateway's that it does not read, and does not answer."""
    served = await gateway()
    async with Tab(served.url):
        pass
    await emptied(served)
    before = descriptors(served)
    async with AsyncExitStack() as crowd:
        readers: list[asyncio.StreamReader] = []
        for _ in range(10):
            own, closing = await crowd.enter_async_context(greeted(served.port))
            unread, abusing = await crowd.enter_async_context(greeted(served.port))
            unanswered, abusing_too = await crowd.enter_async_context(greeted(served.port))
            stop_reading(own)
            stop_reading(unread)
            closing.write(framed((1000).to_bytes(2), Opcode.CLOSE))
            abusing.write(framed(b"{") * 10)
            abusing_too.write(framed(b"{") * 10)
            readers.append(unanswered)
        for reader in readers:
            assert close_code(await until_closed(reader)) == 4400
        await eventually(lambda: descriptors(served) <= before + 2, what="all sockets are closed")


@pytest.mark.parametrize("visits", [1_500, pytest.param(CHURN_PER_S * 60, marks=SCALE)])
async def test_C17_churn_leaves_nothing_behind(
    gateway: StartGateway, own: Valkey, visits: int
) -> None:
    """As fast as the machine can, and not faster than so many a second."""
    served = await gateway(
        *("--broker", own.url, "--agents", "echo"),
        *("--handshakes-per-s=10000", "--handshakes-burst=10000"),
    )
    async with Tab(served.url) as tab:
        session = await tab.create("echo")
    hello = framed(b'{"type":"hello","sessions":[{"session":"%b"}]}' % session.encode())

    async def answered(reader: asyncio.StreamReader) -> None:
        """Reads until it is subscribed, or Redis stood still too long for that."""
        received = b""
        async with asyncio.timeout(20):
            while not re.search(rb'"(subscribed|broker.unavailable)"', received):
                piece = await reader.read(4_096)
                assert piece, received
                received += piece

    async def visit(number: int) -> None:
        async with raw_socket(served.port) as (reader, writer):
            if number % 5 == 0:  # half a handshake
                writer.write(handshake()[:40])
                return
            writer.write(handshake())
            await reader.readuntil(b"\r\n\r\n")
            if number % 5 == 1:  # no hello
                return
            writer.write(hello)
            if number % 5 == 2:  # gone in the middle of it
                return
            await answered(reader)
            if number % 5 == 3:  # a clean end
                writer.write(framed((1000).to_bytes(2), Opcode.CLOSE))
                await until_closed(reader)

    async def crowd(count: int) -> None:
        for _ in range(count // AT_ONCE):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(AT_ONCE / CHURN_PER_S))
                for number in range(AT_ONCE):
                    group.create_task(visit(number))
        await emptied(served)

    await crowd(visits)  # what is made once is made, the allocator has what it needs for a crowd
    keys = await own.command("DBSIZE")

    async def settled() -> tuple[float, ...]:
        names = ("subscriptions", "feeds", "runs_active")
        return tuple([await metric(served.http_url, name) for name in names])

    async def unfollowed() -> bool:
        return await settled() == (0.0, 0.0, 0.0)

    await eventually(unfollowed, what="no subscription is left")
    files, memory = descriptors(served), served.resident_bytes()
    await crowd(visits)
    await eventually(unfollowed, what="no subscription is left")
    await eventually(
        lambda: descriptors(served) <= files + POOLED, what="descriptors are given back"
    )
    assert served.resident_bytes() - memory < 4 * MIB
    assert await own.command("DBSIZE") == keys


# --- Replica crash: a loop that stands still, descriptors


async def test_G4_a_blocked_loop(
    gateway: StartGateway, replicate: Replicate, valkey: Valkey, tmp_path: Path
) -> None:
    """The process ends by itself, and says who it was; its clients and runs go on elsewhere."""
    (tmp_path / "blocking.py").write_text(BLOCKING)
    survivor = await replicate(valkey.url)
    blocked = await gateway(
        *("--broker", valkey.url, "--agents", "blocking:blocker,scripted"),
        *("--stall-ms=1000", *LEASE_OPTIONS),
    )
    story = Story(300, 10)
    async with trial(survivor.gateway.broker) as t:
        client = await t.client(blocked.url, survivor.url)
        session = await client.create()
        run = (await client.send(session, script(story)))["run"]
        await client.deltas(3)
        doomed = await client.create("blocker")
        async with asyncio.TaskGroup() as group:
            group.create_task(client.send(doomed, "Hi"))
            assert await blocked.wait() == 70
        assert "in blocker" in blocked.output()
        assert (await client.run_end(run))["type"] == "run.completed"
        story.assert_told(client.text(session))


async def test_G7_the_limit_of_descriptors(tmp_path: Path) -> None:
    """Who is in stays in and is served; who comes is refused; and when some go, all is well."""
    served = GatewayProcess(tmp_path, "--log-format=json")
    served.arguments = ["prlimit", "--nofile=256:256", *served.arguments]
    await served.start()
    try:
        async with (
            Tab(served.url) as tab,
            http_client(served.http_url) as client,
        ):

            async def unready() -> str | None:
                return (await client.get("/readyz")).json().get("reason")

            async def ready() -> bool:
                return await unready() is None

            assert await ready()
            async with AsyncExitStack() as crowd:

                async def full() -> bool:
                    for _ in range(50):
                        await crowd.enter_async_context(raw_socket(served.port))
                    return await unready() == "descriptors"

                await eventually(full, what="not ready for lack of descriptors")
                session = await tab.create("echo")
                await tab.subscribe(session)
                ok = await tab.message(session, "Hi")
                await tab.run_end(session, ok["run"])
                assert descriptors(served) <= 256 - 8
            await eventually(ready, what="ready again")
        async with Tab(served.url):
            pass
        await emptied(served)
        assert await served.ready()
    finally:
        await served.kill()
    served.assert_clean()


# --- Resource exhaustion


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("sockets", [1_000, pytest.param(5_000, marks=SCALE)])
async def test_X1_idle_sockets_are_cheap(gateway: StartGateway, sockets: int) -> None:
    served = await gateway("--handshakes-per-s=10000", "--handshakes-burst=10000")
    async with AsyncExitStack() as crowd:
        for _ in range(50):
            await crowd.enter_async_context(greeted(served.port))
        before = served.resident_bytes()
        for _ in range(sockets // AT_ONCE):  # soon: who answers no ping is not kept for long
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(crowd.enter_async_context(greeted(served.port)))
        assert await metric(served.http_url, "connections") == sockets + 50
        assert (served.resident_bytes() - before) / sockets < IDLE_BYTES
    await emptied(served)


async def test_X2_a_session_with_news_for_ever_gets_one_turn_in_each_round() -> None:
    """Counted in bytes that go out before the others' news, not in time."""
    others = [f"s_{n}" for n in range(200)]
    piece = delta("x" * 8_000)
    async with in_process(settings=Settings(max_subscriptions=256)) as inside:
        for session in ("s_fast", *others):
            await inside.create(session)
        wanted = [{"session": s, "detail": "full"} for s in ("s_fast", *others)]
        async with connected(inside, hello={"sessions": wanted}) as peer:
            await eventually(lambda: len(peer.find("subscribed")) == 201, what="subscribed")
            for number in range(5):
                peer.block()
                began = len(peer.frames)
                for _ in range(10):
                    await inside.append("s_fast", *[piece] * 20)
                for session in others:
                    await inside.append(session, delta(f"{number}"))
                await eventually(
                    lambda n=number: _heads(inside.delivery.hub, others) == 200 * (n + 2),
                    what="all have news",
                )
                peer.unblock()
                await eventually(
                    lambda n=number: len(peer.find("message.delta", delta=f"{n}")) == 200
                )
                before = 0
                left = set(others)
                for frame in peer.frames[began:]:
                    if not left:
                        break
                    left.discard(frame["session"])
                    before += len(json.dumps(frame)) * (frame["session"] == "s_fast")
                assert before <= TURN_BYTES + 10_000


def _heads(hub: object, sessions: list[str]) -> int:
    """How far the feeds of these sessions are, in all."""
    return sum(hub._follows[session].feed.last for session in sessions)  # type: ignore[attr-defined]


async def test_X2_two_hundred_sessions_beside_a_fast_one(replicate: Replicate) -> None:
    replica = await replicate(max_subscriptions=256, max_runs=300)
    fast = Story(4_000, 0)
    async with trial(replica.gateway.broker) as t:
        client = await t.client(replica.url)
        streaming = await client.create()
        sessions = [await client.create() for _ in range(200)]
        run = (await client.send(streaming, script(fast, fast, fast, fast)))["run"]
        small = Story(3, 0, name="small")
        runs = [(await client.send(session, script(small)))["run"] for session in sessions]
        for other in runs:
            assert (await client.run_end(other))["type"] == "run.completed"
        for session in sessions:
            small.assert_told(client.text(session))
        assert (await client.run_end(run))["type"] == "run.completed"


async def test_X3_a_hundred_slow_readers(gateway: StartGateway) -> None:
    """What they have not read is a cursor, not a copy for each."""
    served = await gateway("--agents", "scripted", "--write-timeout-ms=600000")
    big = {"repeat": 60, "steps": [{"say": "x" * 50_000, "chunk": 1_000}]}
    async with Tab(served.url) as tab, AsyncExitStack() as crowd:
        session = await tab.create()
        await tab.subscribe(session, detail="full")
        wanted = b'{"type":"hello","sessions":[{"session":"%b"}]}' % session.encode()
        readers: list[asyncio.StreamReader] = []
        for _ in range(100):
            reader, _ = await crowd.enter_async_context(greeted(served.port, framed(wanted)))
            stop_reading(reader)
            readers.append(reader)
        before = served.resident_bytes()
        ok = await tab.script(session, big)
        await tab.run_end(session, ok["run"], within=40)
        assert len(tab.text(session)) == 3_000_000
        assert await metric(served.http_url, "connections") == 101
        assert served.resident_bytes() - before < 80 * MIB  # of 300
        readers[0]._transport.resume_reading()  # type: ignore[attr-defined]
        seen = 0
        async with asyncio.timeout(20):
            while seen < 3_000_000:
                seen += len(await readers[0].read(65_536))


async def test_X4_short_of_memory(short_linger: None) -> None:
    """The newest slow ones go, nobody is let in, and the others notice nothing."""
    given = Given()
    settings = Settings(write_timeout_ms=600_000)
    async with (
        in_process(settings=settings, resources=given) as inside,
        serving(inside) as port,
        Tab(f"ws://127.0.0.1:{port}/v1/ws") as tab,
        AsyncExitStack() as crowd,
    ):
        roster = inside.delivery.roster
        await inside.create("s_1")
        wanted = framed(b'{"type":"hello","sessions":[{"session":"s_1"}]}')
        for _ in range(3):
            reader, _ = await crowd.enter_async_context(greeted(port, wanted))
            stop_reading(reader)
        for _ in range(100):
            await inside.append("s_1", *(delta("x" * 8_000, part=m % 2) for m in range(10)))
            await asyncio.sleep(0)
        await eventually(lambda: sum(m.slow for m in roster._members) == 3, what="three are slow")
        given.resident = 81 * MIB
        await eventually(lambda: len(roster) == 1, what="the slow ones are gone")
        assert b'_closed_total{code="1013"} 3.0' in inside.delivery.metrics.render()[0]
        async with raw_socket(port) as (reader, writer):
            writer.write(handshake())
            answer = await until_closed(reader)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert re.search(rb"(?i)retry-after: [1-5]\r\n", answer)
        await tab.must({"type": "session.create", "agent": "echo"})
        given.resident = 10 * MIB
        await eventually(lambda: inside.delivery.admission.unready is None, what="calm again")
        async with Tab(f"ws://127.0.0.1:{port}/v1/ws"):
            pass


async def test_X5_a_storm_of_handshakes(replicate: Replicate) -> None:
    replica = await replicate(handshakes_per_s=1, handshakes_burst=50)
    async with AsyncExitStack() as crowd:
        answers: list[bytes] = []
        began = time.monotonic()

        async def storm() -> None:
            reader, writer = await crowd.enter_async_context(raw_socket(replica.port))
            writer.write(handshake())
            answers.append(await reader.readuntil(b"\r\n\r\n"))
            if b" 101 " in answers[-1]:
                writer.write(HELLO)
                await reader.readuntil(b'"welcome"')

        for _ in range(20):
            async with asyncio.TaskGroup() as group:
                for _ in range(50):
                    group.create_task(storm())
        codes = Counter(answer.split()[1] for answer in answers)
        assert codes.keys() == {b"101", b"503"}
        assert 50 <= codes[b"101"] <= 50 + time.monotonic() - began + 1
        refused = [answer for answer in answers if b" 503 " in answer]
        waits = {int(m[1]) for a in refused if (m := re.search(rb"(?i)retry-after: (\d)\r", a))}
        assert waits == {1, 2, 3, 4, 5}
        assert len(replica.gateway.roster) == codes[b"101"]


async def test_X5_too_many_connections(replicate: Replicate) -> None:
    """A page learns of it by the close code."""
    replica = await replicate(max_connections=2, max_subject_connections=10)
    async with Tab(replica.url) as tab, Tab(replica.url):
        refused = Tab(replica.url, hello=False)
        await refused.open()
        assert await refused.wait_closed() == 4480
        await tab.must({"type": "session.create", "agent": "echo"})
        async with http_client() as client:
            answer = await client.get(f"http://{replica.place}/readyz")
            assert answer.json()["reason"] == "full"
    async with Tab(replica.url) as tab:
        await tab.must({"type": "session.create", "agent": "echo"})
    await refused.close()


async def test_X5_too_many_of_one_subject(replicate: Replicate) -> None:
    replica = await replicate(max_subject_connections=2)
    async with Tab(replica.url) as tab, Tab(replica.url):
        refused = Tab(replica.url, hello=False)
        await refused.open()
        await refused.send({"type": "hello", "client": "tab_3"})
        assert await refused.wait_closed() == 4480
        async with Tab(replica.url, client=tab.client):  # in the place of its old one
            assert await tab.wait_closed() == 4409
    await refused.close()


async def test_X6_a_flood_of_bad_frames_is_a_few_lines(gateway: StartGateway) -> None:
    served = await gateway("--log-format=json")
    bad: list[str | bytes] = ["{", b"\x00", '{"type":"session.create"}', '{"type":7}']
    connections = 0
    for _ in range(10):
        tabs = [await Tab(served.url).open() for _ in range(20)]
        connections += len(tabs)
        for tab in tabs:
            for n in range(10):
                await tab.send_raw(bad[n % len(bad)])
        for tab in tabs:
            assert await tab.wait_closed() == 4400
            await tab.close()
    async with greeted(served.port) as (reader, writer):
        writer.write(framed(b"\xff") * 5_000)
        await until_closed(reader)
    await served.terminate()
    lines = [json.loads(line) for line in served.output().splitlines()]
    kinds = Counter((line["event"][:32], line.get("action")) for line in lines)
    seconds = len({line["timestamp"][:19] for line in lines})
    closed = [line for line in lines if "is closed" in line["event"]]
    assert closed
    assert max(kinds.values()) <= 10 * (seconds + 1)
    assert not [line for line in lines if line["level"] not in ("info", "warning")]


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=SCALE)])
async def test_K4_a_process_that_stands_still_for_a_while(
    gateway: StartGateway, valkey: Valkey, seconds: int
) -> None:
    """Stopped for longer than any of its deadlines: nobody is thrown out for its own absence."""
    served = await gateway(
        *("--broker", valkey.url, "--agents", "scripted", "--stall-ms=1000"),
        *("--write-timeout-ms=4000", "--ack-timeout-ms=4000", "--hello-ms=60000"),
    )
    story = Story(600, 10)
    async with opened(valkey.url) as reader, trial(reader) as t:
        clients = [await t.client(served.url, window=64) for _ in range(20)]
        sessions = [await client.create() for client in clients]
        runs = [
            (await client.send(session, script(story)))["run"]
            for client, session in zip(clients, sessions, strict=True)
        ]
        for client in clients:
            await client.deltas(2)
        served.pause()
        with pytest.raises(AssertionError):  # it is only stopped
            await eventually(lambda: not served.running, within=seconds)
        served.resume()
        for client, session, run in zip(clients, sessions, runs, strict=True):
            assert (await client.run_end(run))["type"] == "run.completed"
            story.assert_told(client.text(session))
            assert client.connections == 1
