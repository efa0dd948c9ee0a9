"""Questions and answers: order, loss, deadlines, room."""

import asyncio
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import ReadOnlyError, ResponseError

from gateway.broker.redis.servers import connecting
from gateway.broker.redis.stream import Lost
from tests.broker.redis.lines import PATIENT, scripted, wired
from tests.support.processes import KeyValueServer, free_port
from tests.support.waiting import eventually


def asked(call: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(call)  # noqa: TID251 - awaited by the test


async def lost(call: Any) -> str:
    with pytest.raises(LostConnection) as caught:
        await call
    return str(caught.value)


async def test_answers_belong_to_their_questions(server: KeyValueServer) -> None:
    async with wired(server.url) as wire:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(wire.call("ECHO", f"{i}")) for i in range(500)]
        assert [call.result() for call in calls] == [b"%d" % i for i in range(500)]
        replies = await wire.calls([("SET", "k", 1), ("LPOP", "k"), ("GET", "k")])
        assert (replies[0], replies[2]) == (b"OK", b"1")
        assert isinstance(replies[1], ResponseError), "an error among several is a value"
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await wire.call("LPOP", "k")
        assert await wire.calls([]) == []


async def test_one_turn_is_one_write() -> None:
    async with scripted() as server, wired(server.url) as wire:
        first = asked(wire.call("PING"))
        await server.has(b"PING")
        server.say(b"+PONG\r\n")
        assert await first == b"PONG"
        calls = [asked(wire.call("ECHO", "x" * 50)) for _ in range(100)]
        await server.has(b"ECHO", 100)
        assert len(server.pieces) == 2
        server.say(b"$1\r\nx\r\n" * 100)
        assert [await call for call in calls] == [b"x"] * 100


async def test_a_cancelled_call_keeps_its_place() -> None:
    async with scripted() as server, wired(server.url) as wire:
        first, second, third = (asked(wire.call("ECHO", text)) for text in "abc")
        await server.has(b"ECHO", 3)
        second.cancel()
        await asyncio.wait((second,))
        server.say(b"+a\r\n+b\r\n+c\r\n")
        assert (await first, await third) == (b"a", b"c")
        assert second.cancelled()


async def test_cancelled_at_any_time_nobody_gets_anothers_answer(server: KeyValueServer) -> None:
    async with wired(server.url) as wire:
        for i in range(300):
            calls = [asked(wire.call("ECHO", f"{i}.{k}")) for k in range(6)]
            for _ in range(i % 5):
                await asyncio.sleep(0)
            calls[i % 6].cancel()
            await asyncio.wait(calls)
            for k, call in enumerate(calls):
                assert call.cancelled() or call.result() == f"{i}.{k}".encode()


async def test_a_lost_connection_fails_what_is_unanswered_once() -> None:
    async with scripted() as server, wired(server.url) as wire:
        calls = [asked(wire.call("INCR", "n")) for _ in range(3)]
        await server.has(b"INCR", 3)
        server.say(b":1\r\n")
        assert await calls[0] == 1
        server.hang_up()
        await asyncio.wait(calls)
        errors = [call.exception() for call in calls[1:]]
        assert [type(error) for error in errors] == [Lost, Lost]
        assert errors[0] is not errors[1], "each has a traceback of its own"
        again = asked(wire.call("GET", "n"))
        await server.has(b"GET")
        server.say(b"$1\r\n3\r\n")
        assert await again == b"3", "it connects again"
        assert server.taken.count(b"INCR") == 3, "nothing is sent twice"
        assert server.connections == 2


async def test_the_oldest_question_has_a_deadline() -> None:
    """Younger ones fail with it; a connection that answers, however late, is kept."""
    limits = msgspec.structs.replace(PATIENT, answer_s=2)
    async with scripted() as server, wired(server.url, limits) as wire:
        loop = asyncio.get_running_loop()
        slow = asked(wire.call("ECHO", "slow"))
        await server.has(b"slow")
        for _ in range(3):  # each within its time, together longer than one may take
            asked_at = loop.time()
            before, slow = slow, asked(wire.call("ECHO", "next"))
            await eventually(lambda at=asked_at: loop.time() > at + 0.75)
            server.say(b"+x\r\n")
            assert await before == b"x"
        started = loop.time()
        young = asked(wire.call("ECHO", "young"))
        assert "no answer" in await lost(slow)
        assert "no answer" in await lost(young)
        assert loop.time() - started < 10
        assert server.connections == 1


async def test_a_server_that_does_not_shake_hands() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, wired(url, msgspec.structs.replace(PATIENT, call_s=0.6)) as wire:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(TimeoutError):
            await wire.call("PING")
        assert loop.time() - started < 10


async def test_connecting_is_not_tried_all_the_time() -> None:
    attempts = 0

    def connect() -> Any:
        nonlocal attempts
        attempts += 1
        return real()

    nobody = f"redis://127.0.0.1:{free_port()}"
    real = connecting(nobody)
    limits = msgspec.structs.replace(PATIENT, pause_s=60)
    async with scripted() as server, wired(nobody, limits, connect) as wire:
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(lost(wire.call("PING")))
        assert attempts == 1
        real = connecting(server.url)
        wire._next_try = 0.0
        back = asked(wire.call("PING"))
        await server.has(b"PING")
        server.say(b"+PONG\r\n")
        assert await back == b"PONG"


async def test_more_than_may_be_unanswered_waits_for_room() -> None:
    limits = msgspec.structs.replace(PATIENT, unanswered=3)
    async with scripted() as server, wired(server.url, limits) as wire:
        calls = [asked(wire.call("ECHO", f"{i}")) for i in range(5)]
        await server.has(b"ECHO", 3)
        assert not wire.ready
        server.say(b"+0\r\n")
        await server.has(b"ECHO", 4)
        assert server.taken.count(b"ECHO") == 4
        server.say(b"+1\r\n+2\r\n")
        await server.has(b"ECHO", 5)
        server.say(b"+3\r\n+4\r\n")
        assert [await call for call in calls] == [b"%d" % i for i in range(5)]


async def test_who_finds_no_room_gives_up() -> None:
    limits = msgspec.structs.replace(PATIENT, unanswered=1, room_s=0.2)
    async with scripted() as server, wired(server.url, limits) as wire:
        first = asked(wire.call("ECHO", "a"))
        await server.has(b"ECHO")
        with pytest.raises(TimeoutError, match="too many"):
            await wire.call("ECHO", "b")
        server.say(b"+a\r\n")
        assert await first == b"a"
        assert server.taken.count(b"ECHO") == 1, "it was never sent"


async def test_a_peer_that_reads_nothing_is_not_written_to_for_ever(
    server: KeyValueServer,
) -> None:
    limits = msgspec.structs.replace(PATIENT, answer_s=2, room_s=0.2)
    async with wired(server.url, limits) as wire:
        await wire.call("PING")
        server.pause()
        large = "x" * 1_000_000
        calls = [asked(wire.call("ECHO", large)) for _ in range(40)]
        await eventually(lambda: not wire.ready, what="the wire is full")
        await asyncio.wait(calls)
        server.resume()
        assert {type(call.exception()) for call in calls} <= {Lost, TimeoutError}


async def test_a_demoted_master_is_left() -> None:
    """Its other answers still come; the next question goes over another connection."""
    async with scripted() as server, wired(server.url) as wire:
        first, second = asked(wire.call("INCR", "n")), asked(wire.call("GET", "n"))
        await server.has(b"GET")
        server.say(b"-READONLY You can't write against a read only replica.\r\n")
        with pytest.raises(ReadOnlyError):
            await first
        third = asked(wire.call("INCR", "m"))
        await server.has(b"INCR", 2)
        assert server.connections == 2
        server.say(b":5\r\n")
        assert await third == 5
        assert not second.done()
        server.say_on(0, b"$1\r\n7\r\n")
        assert await second == b"7"


@pytest.mark.parametrize("said", [b"nonsense\r\n", b"+x\r\n+unasked\r\n"])
async def test_what_is_out_of_step_ends_the_connection(said: bytes) -> None:
    async with scripted() as server, wired(server.url) as wire:
        first = asked(wire.call("PING"))
        await server.has(b"PING")
        server.say(said)
        await asyncio.wait((first,))
        await eventually(lambda: not wire.ready, what="the wire is left")


async def test_closing_tells_who_waits() -> None:
    async with scripted() as server, wired(server.url) as wire:
        call = asked(wire.call("PING"))
        await server.has(b"PING")
        await wire.close()
        assert await lost(call) == "closed"
        assert await lost(wire.call("PING")) == "closed"
        assert server.connections == 1
