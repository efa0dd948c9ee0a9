"""What the other tests lean on: real servers start, freeze and end; a Tab sees what came."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.support.processes import Process, RedisServer, Valkey
from tests.support.waiting import eventually
from tests.support.wire import Frame, Tab

STATE = {"type": "subscribed", "session": "s", "epoch": "e", "seq": 1, "detail": "full"}


def delta(seq: int, **fields: Any) -> Frame:
    return {"type": "message.delta", "session": "s", "seq": seq, "time": "t", **fields}


@pytest.fixture
async def gateway_that_says() -> AsyncIterator[Callable[..., str]]:
    """A server that answers hello with a welcome and, in the same message, the given frames."""
    script: list[Frame] = []

    async def talk(socket: ServerConnection) -> None:
        assert json.loads(await socket.recv())["type"] == "hello"
        await socket.send("\n".join(json.dumps(f) for f in [{"type": "welcome"}, *script]))
        async for text in socket:
            if text == "bye":
                await socket.close(4454)
            else:
                await socket.send(json.dumps({"type": "ok", "id": json.loads(text)["id"]}))

    async with serve(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]

        def start(*frames: Frame) -> str:
            script[:] = frames
            return f"ws://127.0.0.1:{port}"

        yield start


async def test_a_dense_session_is_dense(gateway_that_says: Callable[..., str]) -> None:
    url = gateway_that_says(STATE, delta(2), delta(5, from_seq=3), {**STATE, "seq": 9}, delta(10))
    async with Tab(url) as tab:
        assert [event["seq"] for event in tab.assert_dense("s")] == [2, 5, 10]
        assert tab.position("s") == {"session": "s", "epoch": "e", "after": 10}
        assert tab.messages == 1


@pytest.mark.parametrize(
    "frames",
    [
        [delta(2)],
        [STATE, delta(3)],
        [STATE, delta(2), delta(2)],
        [STATE, delta(2), delta(4, from_seq=2)],
    ],
    ids=["unannounced", "hole", "twice", "overlap"],
)
async def test_a_session_with_a_flaw_is_not_dense(
    gateway_that_says: Callable[..., str], frames: list[Frame]
) -> None:
    async with Tab(gateway_that_says(*frames)) as tab:
        with pytest.raises(AssertionError):
            tab.assert_dense("s")


async def test_a_tab_finds_its_answers(gateway_that_says: Callable[..., str]) -> None:
    async with Tab(gateway_that_says(delta(2))) as tab:
        assert (await tab.ask({"type": "session.list"}))["type"] == "ok"
        assert (await tab.wait_for("message.delta", session="s"))["seq"] == 2
        with pytest.raises(AssertionError, match="not within"):
            await tab.wait_for("message.delta", since=tab.mark(), within=0.05)


async def test_a_wait_ends_with_the_connection(gateway_that_says: Callable[..., str]) -> None:
    async with Tab(gateway_that_says()) as tab:
        await tab.send_raw("bye")
        with pytest.raises(AssertionError, match="not connected"):
            await tab.wait_for("never")
        assert await tab.wait_closed() == 4454


@pytest.mark.parametrize("kind", [Valkey, RedisServer])
async def test_a_server_starts_forgets_and_ends(
    kind: type[Valkey | RedisServer], tmp_path: Path
) -> None:
    server = await kind(tmp_path).start()
    try:
        assert await server.command("SET a 1") == "+OK"
        await server.restart()
        assert await server.command("GET a") == "$-1"
        assert await server.command("SET a 1") == "+OK"
        await server.flush()
        assert await server.command("GET a") == "$-1"
        server.pause()
        await server.terminate()
    finally:
        await server.kill()
    assert not server.running


async def test_an_append_only_server_remembers(tmp_path: Path) -> None:
    server = await Valkey(tmp_path, append_only=True).start()
    try:
        await server.command("SET a 1")
        await server.restart()
        assert await server.command("GET a") == "$1"
    finally:
        await server.kill()


async def test_a_process_that_fails_to_start_quotes_its_output(tmp_path: Path) -> None:
    process = Process([sys.executable, "-c", "print('no luck'); exit(3)"], tmp_path, name="p")

    async def never() -> bool:
        return False

    process.ready = never
    with pytest.raises(AssertionError, match=r"ended with 3:\nno luck"):
        await process.start()


async def test_a_killed_process_takes_its_children_along(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True); child.wait()"
    )
    process = await Process([sys.executable, "-c", code], tmp_path, name="parent").start()
    child = int(await eventually(process.output, what="the child's pid"))
    await process.kill()

    def gone() -> bool:
        stat = Path(f"/proc/{child}/stat")
        return not stat.exists() or ") Z " in stat.read_text()

    await eventually(gone, what="the child is gone")
