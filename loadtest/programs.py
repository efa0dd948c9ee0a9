"""Programs that a load test starts: each in a folder of its own, each ended by its pid.

A program dies with the load test, however that ends (where `setpriv` is there). Nothing here knows
what the programs are for.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from loadtest.errors import LoadError
from loadtest.proc import pin

ROOT = Path(__file__).parents[1]
START_S, STOP_S = 30.0, 15.0
LINES = 20


def free_port() -> int:
    """A port of loopback that nobody listens on, below those that outgoing connections take."""
    for port in random.sample(range(20_000, 32_000), 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LoadError("There is no free port between 20000 and 32000 on 127.0.0.1.")


class Program:
    """One process; what it writes goes to `log`, or with `talks` over pipes to us."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        cpus: set[int] | None = None,
        talks: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="loadtest-")
        self.log = Path(self._folder.name) / "log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("AGENT_GATEWAY_")}
        path = os.pathsep.join(filter(None, [str(ROOT), inherited.get("PYTHONPATH")]))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a program of ours
                _mortal(arguments),
                cwd=self._folder.name,
                env={**inherited, "PYTHONPATH": path, **(environment or {})},
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                start_new_session=True,  # Ctrl-C comes to us alone, and we end it
            )
        pin(self._process.pid, cpus or set())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def pipes(self) -> tuple[int, int]:
        """Descriptors of its stdin and stdout."""
        assert self._process.stdin is not None, "it talks"
        assert self._process.stdout is not None, "it talks"
        return self._process.stdin.fileno(), self._process.stdout.fileno()

    def until(self, ready: Callable[[], bool], within_s: float = START_S) -> Self:
        """Returns when it is ready. Raises `LoadError` if it ends or takes too long."""
        deadline = time.monotonic() + within_s
        while not ready():
            if not self.running:
                raise LoadError(f"{self.name} has ended: {self.said()}")
            if time.monotonic() > deadline:
                raise LoadError(f"{self.name} was not ready in {within_s:.0f} s: {self.said()}")
            time.sleep(0.02)
        return self

    def said(self) -> str:
        """The end of what it wrote, in words."""
        return self.written() or "it wrote nothing."

    def written(self) -> str:
        """The end of what it wrote."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return "\n".join(lines[-LINES:])

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not enough. Idempotent."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._folder.cleanup()


def module(name: str, *arguments: str) -> list[str]:
    """The command of a module of this Python."""
    return [sys.executable, "-m", name, *arguments]


def _mortal(arguments: Sequence[str]) -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--", *arguments] if setpriv else list(arguments)
