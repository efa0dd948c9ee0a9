"""Raw bytes against the WebSocket of a real gateway process: handshakes and frames, mutated.

Seeded. Every connection is answered or ended, another one does not notice, nothing is logged as an
error, and what the process uses comes back to where it was.
"""

import asyncio
import base64
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import StartGateway
from tests.faults.rfc6455 import MASK, close, frame
from tests.fuzz.conftest import Budget, Tried
from tests.support.processes import GatewayProcess
from tests.support.waiting import eventually
from tests.support.wire import Tab

AT_ONCE = 8
ENDS_S = 30.0
"""A handshake has 5 s, a closing one 2 s; the rest is for a busy machine."""
GROWTH_BYTES = 40 << 20
KEY = base64.b64encode(b"0123456789abcdef").decode()


@pytest.fixture
async def server(gateway: StartGateway) -> AsyncIterator[GatewayProcess]:
    server = await gateway("--agents", "scripted")
    yield server
    assert server.running
    assert '"level":"error"' not in server.output()


def handshake(draw: random.Random, *, good: bool) -> bytes:
    lines = [
        "GET /v1/ws HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: agent-gateway.v1",
    ]
    if good:
        return "\r\n".join([*lines, "", ""]).encode()
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(lines))
        name, _, value = lines[at].partition(": ")
        odd = draw.choice(["", "é", "\x00", "x" * 9_000, "13, 13", "keep-alive", "-1", value * 2])
        match draw.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[at])
            case 2 if at:
                lines[at] = f"{name}: {odd}"
            case 3:
                lines[at] = lines[at].swapcase()
            case _:
                lines.append(f"Content-Length: {odd or 5}")
    text = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return text if draw.random() < 0.8 else text[: draw.randrange(len(text))]


def frames(draw: random.Random) -> bytes:
    """Some frames, right and wrong."""
    said = b'{"type":"hello"}' if draw.random() < 0.7 else draw.randbytes(draw.randrange(200))
    parts = [frame(1, said)]
    for _ in range(draw.randrange(1, 12)):
        opcode = draw.choice([0, 1, 1, 2, 8, 9, 10, draw.randrange(16)])
        payload = draw.randbytes(draw.choice([0, 1, 2, 125, 126, 127, 300, 65_536]))
        if draw.random() < 0.5:
            payload = draw.choice([b'{"type":"ping"}', b"\n" * 9, b"{}", b"\xed\xa0\x80", b"nul\0"])
        flags = {"fin": draw.random() < 0.8, "masked": draw.random() < 0.95}
        rsv = draw.choice([0] * 9 + [1, 2, 4, 7])
        parts.append(frame(opcode, payload, rsv=rsv, **flags))
    if draw.random() < 0.3:
        code = draw.choice([None, 0, 999, 1000, 1004, 1005, 1006, 1015, 2999, 3000, 4999, 65535])
        parts.append(close(code, draw.randbytes(draw.choice([0, 1, 123, 200]))))
    if draw.random() < 0.2:  # a length that does not come
        size = draw.choice([2**16, 2**40, 2**63, 2**64 - 1])
        parts.append(bytes([0x81, 0xFF]) + size.to_bytes(8) + MASK + b"x" * 20)
    data = bytearray(b"".join(parts))
    for _ in range(draw.choice([0, 0, 0, 1, 5])):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data)


async def attack(port: int, seed: int) -> None:
    """One connection from its first byte to its end, which the server makes unless we do."""
    draw = random.Random(seed)
    good = draw.random() < 0.75
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(handshake(draw, good=good))
        if good:
            assert b" 101 " in await reader.readline()
            data = frames(draw)
            chop = draw.choice([len(data), 1_000, 7])
            for at in range(0, min(len(data), 100 * chop), chop):
                writer.write(data[at : at + chop])
            await writer.drain()
        if draw.random() < 0.5:
            writer.write_eof()
        else:
            writer.write(frame(8, b"\x03\xe8"))
            writer.write_eof()
        while await reader.read(65_536):
            pass
    except OSError:
        pass  # an end, too
    finally:
        writer.transport.abort()


def descriptors(process: GatewayProcess) -> int:
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


async def test_handshakes_and_frames(server: GatewayProcess, budget: Budget, tried: Tried) -> None:
    async with Tab(server.url) as other:
        await other.send({"type": "ping"})
        await other.wait_for("pong")
        for seed in range(50):  # what a process has once it has seen everything
            await attack(server.port, -seed)
        before, open_before = server.resident_bytes(), descriptors(server)
        numbers = iter(range(budget.seed * 1_000_000, 2**62))
        until = time.monotonic() + 2 * budget.seconds
        done = 0

        async def attacker() -> None:
            nonlocal done
            while time.monotonic() < until:
                seed = next(numbers)
                try:
                    async with asyncio.timeout(ENDS_S):
                        await attack(server.port, seed)
                except TimeoutError:
                    raise AssertionError(f"the connection of seed {seed} has no end") from None
                done += 1

        async def watched() -> None:
            while time.monotonic() < until:
                since = other.mark()
                await other.send({"type": "ping"})
                await other.wait_for("pong", since=since)
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            group.create_task(watched())
            for _ in range(AT_ONCE):
                group.create_task(attacker())
        await eventually(
            lambda: descriptors(server) <= open_before + 1, within=ENDS_S, what="closed again"
        )
        assert server.resident_bytes() < before + GROWTH_BYTES
        tried(done)
