"""A gateway of our own on a free loopback port, and how much CPU it used."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

import httpx2

START_S = 20.0


class Target:
    """`async with Target(broker) as target:` starts `agent-gateway serve` and stops it."""

    def __init__(self, broker: str) -> None:
        self.broker = broker
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    async def __aenter__(self) -> Self:
        arguments = ["serve", "--port", str(self.port), "--broker", self.broker]
        arguments += ["--frames-per-s", "1000000", "--frames-burst", "1000000"]  # one busy socket
        self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own program, at start-up
            [sys.executable, "-m", "gateway.cli", *arguments, "--agents", "scripted,echo"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        async with asyncio.timeout(START_S), httpx2.AsyncClient(trust_env=False) as client:
            while not await self._ready(client):
                if self._process.poll() is not None:
                    raise SystemExit("The gateway ended; see its message above.")
                await asyncio.sleep(0.05)
        return self

    async def _ready(self, client: httpx2.AsyncClient) -> bool:
        try:
            answer = await client.get(f"http://127.0.0.1:{self.port}/readyz")
        except httpx2.TransportError:
            return False
        return answer.status_code == 200

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None, "it was started"
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, 30)

    def cpu_seconds(self) -> float:
        """CPU time of the gateway so far, user and system (Linux)."""
        assert self._process is not None, "it was started"
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
