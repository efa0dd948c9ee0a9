"""Faults, Bad input: what single frames cannot show, through a whole gateway, from both sides.

Every bad field of every frame is in tests/integration/test_bad_frames.py and tests/protocol.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from gateway.runtime.agent import agent
from gateway.runtime.context import RunContext
from gateway.settings import Settings
from gateway.transports import sockets
from tests.broker.redis.opening import asking
from tests.faults.clients import Client
from tests.faults.conftest import Replica, Replicate
from tests.faults.producer import Story, script
from tests.faults.proxy import FaultProxy
from tests.faults.trial import Trial, trial
from tests.support.composed import composed
from tests.support.inprocess import raw_socket
from tests.support.processes import Valkey
from tests.support.wire import Frame, Tab
from tests.test_server import close_code, framed, handshake, until_closed

ODD_IDS = [
    "", " ", "{}", "a:b", "*", "a?", "[ab]", "a\r\nb", "a\nb", "x" * 10_000, "💥", "../../etc",
    "a\x00b", "agw:{1}:s:a:meta", "$(id)", "é", "a'--", "%2e%2e", "a/b", "\u2028",
]  # fmt: skip
AGENT_NAME = re.compile(r"[A-Za-z0-9_.:/@-]{1,128}")
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The raw clients here never answer a close."""
    monkeypatch.setattr(sockets, "LINGER_S", 0.2)


async def alive(replica: Replica) -> None:
    """Somebody else is served as if nothing had been."""
    async with trial(replica.gateway.broker) as t:
        client = await t.client(replica.url)
        session = await client.create()
        await client.run_end((await client.send(session, script(Story(3, 0))))["run"])


async def test_B2_binary_amid_a_stream(replica: Replica, t: Trial) -> None:
    """An error frame, and the stream on the same socket goes on without a hole."""
    story = Story(100)
    client = await t.client(replica.url)
    session = await client.create()
    async with Tab(replica.url) as tab:
        await tab.subscribe(session, detail="full")
        run = (await client.send(session, script(story)))["run"]
        for payload in (b"", b"\x00\xff", json.dumps({"type": "ping"}).encode()):
            since = tab.mark()
            await tab.send_raw(payload)
            assert (await tab.wait_for("error", since=since))["code"] == "frame.malformed"
        await tab.run_end(session, run)
        assert tab.text(session) == story.text
        tab.assert_dense(session)


# --- B3: text that is none

BROKEN_UTF8 = {
    "whole": [b"\xff\xfe\xfd"],
    "overlong": [b'{"type":"\xc0\xaf"}'],
    "surrogate": [b'{"type":"\xed\xa0\x80"}'],
    "too-high": [b'"\xf4\x90\x80\x80"'],
    "cut": [b'{"type":"pi\xe2\x82'],
    "over-two-fragments": [b'{"type":"pi\xe2\x82', b'"}'],
    "second-fragment": [b'{"type":', b'"\xff"}'],
}


async def send_fragments(port: int, *pieces: bytes) -> bytes:
    """What a socket brings that says hello, then sends one message in fragments."""
    async with raw_socket(port) as (reader, writer):
        writer.write(handshake())
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(framed(b'{"type":"hello"}'))
        for at, piece in enumerate(pieces):
            opcode = Opcode.CONT if at else Opcode.TEXT
            writer.write(framed(piece, opcode, fin=at == len(pieces) - 1))
        return await until_closed(reader)


@pytest.mark.parametrize("pieces", BROKEN_UTF8.values(), ids=BROKEN_UTF8)
async def test_B3_what_is_no_utf8_closes_1007(
    replica: Replica, caplog: pytest.LogCaptureFixture, pieces: list[bytes]
) -> None:
    with caplog.at_level(logging.INFO):
        assert close_code(await send_fragments(replica.port, *pieces)) == 1007
    assert not [record for record in caplog.records if record.exc_info]
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) <= 1
    await alive(replica)


async def test_B3_a_character_may_be_cut_between_fragments(replica: Replica, t: Trial) -> None:
    client = await t.client(replica.url)
    session = await client.create()
    text = "naïve € 💥 \u0000 end"
    frame = {"type": "message.send", "id": "k_cut", "session": session, "content": text}
    body = json.dumps({**frame, "start": False}, ensure_ascii=False).encode()
    at = body.index("💥".encode()) + 2
    async with connect(replica.url, proxy=None, compression=None) as socket:
        await socket.send('{"type":"hello"}')

        async def pieces() -> AsyncIterator[bytes]:
            for piece in (body[:at], body[at:]):
                yield piece

        await socket.send(pieces(), text=True)
        added = await client.event("message.added")
    assert added["parts"] == [{"kind": "text", "text": text}]


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00x", "\\ud800\\ud800"])
async def test_B3_lone_surrogates_are_malformed(replica: Replica, escape: str) -> None:
    async with Tab(replica.url) as tab:
        session = await tab.create()
        since = tab.mark()
        start = '{"type":"message.send","id":"k_1","start":false,"session":"'
        await tab.send_raw(f'{start}{session}","content":"{escape}"}}')
        error = await tab.wait_for("error", since=since)
        assert error["code"] == "frame.malformed"
        assert (await tab.must({"type": "session.messages", "session": session}))["messages"] == []


# --- B6: sizes

LIMIT = 4_096


@pytest.fixture
async def small(replicate: Replicate) -> Replica:
    return await replicate(max_frame_bytes=LIMIT)


def padded(session: str, size: int) -> str:
    """A message that waits for nobody, of so many bytes."""
    frame = {"type": "message.send", "id": f"k_{size}", "session": session, "start": False}
    empty = json.dumps({**frame, "content": ""})
    return json.dumps({**frame, "content": "x" * (size - len(empty))})


async def test_B6_one_byte_below_at_and_above_the_limit(small: Replica) -> None:
    async with Tab(small.url) as tab:
        (welcome,) = tab.find("welcome")
        assert welcome["limits"]["max_frame_bytes"] == LIMIT
        session = await tab.create()
        for size in (LIMIT - 1, LIMIT):
            await tab.send_raw(padded(session, size))
            await tab.wait_for("ok", id=f"k_{size}")
        await tab.send_raw(padded(session, LIMIT + 1))
        assert await tab.wait_closed() == 1009
    async with Tab(small.url) as tab:
        page = await tab.must({"type": "session.messages", "session": session})
        assert len(page["messages"]) == 2


async def test_B6_the_limit_is_of_the_message_not_of_its_fragments(small: Replica) -> None:
    pieces = [b" " * 1_000 for _ in range(6)]
    assert close_code(await send_fragments(small.port, *pieces)) == 1009
    await alive(small)


async def test_B6_nothing_is_inflated(small: Replica) -> None:
    """Compression is not offered, so a compressed frame is a violation, not a bomb."""
    async with connect(small.url, proxy=None, compression="deflate") as socket:
        assert not socket.protocol.extensions
    async with raw_socket(small.port) as (reader, writer):
        writer.write(handshake("Sec-WebSocket-Extensions: permessage-deflate"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head
        assert b"deflate" not in head.lower()
        bomb = bytearray(framed(b"\xaa\xff" * 60))
        bomb[0] |= 0x40  # RSV1: "this is compressed"
        writer.write(bomb)
        assert close_code(await until_closed(reader)) == 1002


# --- B7: ids


async def test_B7_odd_ids_reach_no_key(replicate: Replicate, own: Valkey) -> None:
    """As session, client, command, message: refused, and Redis holds what it held."""
    replica = await replicate(own.url)
    async with asking(own) as admin:
        before = set(await admin.keys("*"))
        for odd in ODD_IDS:
            async with Tab(replica.url) as tab:
                frames: list[Frame] = [
                    {"type": "session.create", "agent": "echo", "session": odd},
                    {"type": "session.create", "agent": "echo", "id": odd},
                    {"type": "session.subscribe", "session": odd},
                    {"type": "message.send", "session": odd, "content": "x"},
                    {"type": "message.send", "session": "s", "content": "x", "message": odd},
                    {"type": "session.delete", "session": odd},
                ]
                for frame in frames:
                    since = tab.mark()
                    await tab.send({"id": "k_1", **frame})
                    error = await tab.wait_for("error", since=since)
                    assert error["code"] == "frame.malformed", (odd, frame)
                    assert odd not in error.values() or odd == ""
                if not AGENT_NAME.fullmatch(odd):
                    answer = await tab.ask({"type": "session.create", "agent": odd})
                    assert answer["code"] == "frame.malformed", odd
        assert set(await admin.keys("*")) == before


async def test_B7_an_odd_client_id_is_no_hello(replica: Replica) -> None:
    for odd in ODD_IDS:
        async with Tab(replica.url, hello=False) as tab:
            await tab.send({"type": "hello", "client": odd})
            assert (await tab.wait_for("error"))["details"] == {"path": "$.client"}, odd
            await tab.send({"type": "hello", "client": "tab_fine"})
            await tab.wait_for("welcome")


async def test_B7_nothing_odd_makes_a_line_of_the_log(
    replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for odd in ("a\r\nCRITICAL forged", "\x1b[2Jcleared"):
            async with Tab(replica.url, hello=False) as tab:
                await tab.send({"type": "hello", "client": odd})
                await tab.wait_for("error")
                await tab.send({"type": "hello", "app": {"name": odd, "version": odd[:64]}})
                await tab.wait_for("welcome")
                await tab.ask({"type": odd, "id": "k_1"})
                await tab.ask({"type": "session.create", "agent": odd, "id": "k_2"})
    lines = [r.getMessage() for r in caplog.records if r.name.startswith(("gateway", "uvicorn"))]
    assert lines
    assert not [line for line in lines if re.search(r"[\r\n\x1b]", line)]


# --- B8: echoes


async def test_B8_errors_echo_no_markup(replica: Replica) -> None:
    async with Tab(replica.url) as tab:
        session = await tab.create()
        frames: list[Frame] = [
            {"type": MARKUP},
            {"type": "session.create", "agent": MARKUP},
            {"type": "session.subscribe", "session": MARKUP},
            {"type": "session.subscribe", "session": session, "detail": MARKUP},
            {"type": "message.send", "session": session, "content": "x", "if_busy": MARKUP},
            {"type": "message.send", "session": session, "content": [{"kind": MARKUP}]},
            {"type": "run.start", "session": session, "input": {MARKUP: 10**30}},
            {"type": "approval.respond", "session": session, "approval": "a", "decision": MARKUP},
        ]
        for frame in frames:
            error = await tab.ask(frame)
            assert error["type"] == "error", frame
            text = json.dumps(error)
            assert "<" not in text, error
            assert len(text) < 600


# --- B9: bad output of an agent

LONG, HUGE, PIECE = 200_000, 10 * 2**20, 16 * 1024


@agent(name="odd")
async def odd(run: RunContext) -> None:
    """Says what no JSON can hold."""
    await run.say("half \ud800 pair, ")
    await run.say("\ud83d")
    await run.say("\udca5 whole, ")
    await run.say("x" * LONG)
    await run.log("log \udfff")
    for bad in (float("nan"), float("inf"), object(), {"a": {1, object()}}, 10**30):
        try:
            await run.output(bad)
        except ValueError:
            await run.activity("refused")
    await run.output({"text": "fine \ud800", "bytes": b"\xff"})


async def test_B9_bad_output_of_an_agent_harms_nobody() -> None:
    settings = Settings(agents=("scripted",), drain_ms=1_000)
    async with (
        composed(settings, agents={"odd": odd}) as (gateway, place),
        trial(gateway.broker) as t,
    ):
        client = await t.client(f"ws://{place}/v1/ws")
        session = await client.create("odd")
        run = (await client.send(session, "Go"))["run"]
        end = await client.run_end(run)
        assert end["type"] == "run.completed", end
        text = client.text(session)
        assert text.startswith("half \ufffd pair, ")
        assert text.endswith("x" * LONG)
        assert "\ud83d" not in text
        assert len(client.seen("run.activity")) == 5
        (output,) = client.seen("run.output")
        assert output["output"] == {"text": "fine \ufffd", "bytes": "/w=="}
        deltas = [event["delta"] for event in client.seen("message.delta")]
        assert max(map(len, deltas)) <= PIECE


@agent(name="huge")
async def huge(run: RunContext) -> None:
    """Says ten megabytes at once."""
    await run.say("x" * HUGE)


async def test_B9_ten_megabytes_in_one_word() -> None:
    settings = Settings(agents=("scripted",), drain_ms=1_000, keep_bytes=4 * HUGE)
    async with (
        composed(settings, agents={"huge": huge}) as (_, place),
        Tab(f"ws://{place}/v1/ws") as tab,
    ):
        session = await tab.create("huge")
        await tab.subscribe(session, detail="full")
        run = (await tab.message(session, "Go"))["run"]
        assert (await tab.run_end(session, run))["type"] == "run.completed"
        tab.assert_dense(session)
        assert tab.text(session) == "x" * HUGE
        pieces = tab.find(lambda f: f["type"] == "message.delta" and "from_seq" not in f)
        assert max(len(piece["delta"]) for piece in pieces) <= PIECE


# --- B10, B11: handshakes


@pytest.mark.parametrize("version", ["v2", "v99", "v0", "V1", "v1.1"])
async def test_B10_a_version_from_the_future_is_refused(replica: Replica, version: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(replica.url, proxy=None, subprotocols=[f"agent-gateway.{version}"])  # type: ignore[list-item]
    assert refused.value.response.status_code == 400


async def test_B10_a_newer_client_that_also_speaks_ours(replica: Replica) -> None:
    offered = ["agent-gateway.v99", "agent-gateway.v1"]
    async with connect(replica.url, proxy=None, subprotocols=offered) as socket:  # type: ignore[arg-type]
        assert socket.subprotocol == "agent-gateway.v1"
        await socket.send('{"type":"hello","v":99,"future":{"a":[1]}}')
        assert json.loads(await socket.recv())["type"] == "welcome"


async def test_B11_a_frame_in_the_packet_of_the_handshake(replica: Replica) -> None:
    """Who does not wait for the answer may be ignored, but is not stuck: it says hello again."""
    async with raw_socket(replica.port) as (reader, writer):
        writer.write(handshake() + framed(b'{"type":"hello"}'))
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(framed(b'{"type":"hello"}\n{"type":"ping"}'))
        received = b""
        async with asyncio.timeout(20):
            while b'"pong"' not in received:
                received += await reader.read(4_096)
        assert received.count(b'"welcome"') == 1


async def test_B5_unknown_types_and_fields_cost_nothing(replica: Replica, t: Trial) -> None:
    """What a newer client says besides is ignored or told, and its session is whole."""
    client: Client = await t.client(replica.url)
    session = await client.create(future={"a": 1})
    for at in range(30):
        answer = await client.command({"type": "session.fork", "id": f"k_{at}", "session": session})
        assert answer["code"] == "frame.unknown_type"
        assert answer["session"] == session
    run = (await client.send(session, script(Story(5, 0)), future=[1], if_busy="reject"))["run"]
    await client.run_end(run)
    assert client.connections == 1


# --- N13: a large frame up, slowly

READ: Frame = {
    "name": "read_heading",
    "description": "Reads a heading",
    "parameters": {"type": "object"},
}


async def test_N13_a_large_result_over_a_slow_link(
    replica: Replica, proxied: Callable[[int], Awaitable[FaultProxy]]
) -> None:
    """1 MiB in 64 fragments; while it is on its way others are served as ever."""
    proxy = await proxied(replica.port)
    call_it: Frame = {"call_tool": {"name": "read_heading", "arguments": {}}}
    result: Frame = {"type": "tool.result", "id": "k_big", "output": ""}
    async with Tab(proxy.url) as tab:
        session = await tab.create(tools=[READ])
        await tab.subscribe(session, detail="full", tools=["read_heading"])
        run = (await tab.script(session, call_it, {"say": "Thanks."}))["run"]
        call = await tab.wait_for("tool_call.requested")
        result |= {"session": session, "call": call["call"]}
        await tab.must({"type": "tool.claim", "session": session, "call": call["call"]})
        result["output"] = "x" * (2**20 - len(json.dumps(result)))
        body = json.dumps(result).encode()
        assert len(body) == 2**20
        size = -(-len(body) // 63)  # the library ends with an empty one: 64
        arrived = asyncio.Event()

        async def fragments() -> AsyncIterator[bytes]:
            for at in range(0, len(body), size):
                if at == 32 * size:
                    await arrived.wait()
                yield body[at : at + size]

        assert tab._socket is not None
        proxy.delay(0.005, "up")
        async with asyncio.TaskGroup() as group:
            group.create_task(tab._socket.send(fragments(), text=True))
            await alive(replica)  # while half of it has come
            assert not tab.find("ok", id="k_big")
            arrived.set()
        await tab.wait_for("ok", id="k_big")
        done = await tab.wait_for("tool_call.completed")
        assert done["output"] == result["output"]
        assert (await tab.run_end(session, run))["type"] == "run.completed"
        tab.assert_dense(session)
