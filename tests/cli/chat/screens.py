"""A chat in a real pseudo-terminal, and what a person sees of it."""

import asyncio
import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pyte

from tests.support.processes import COMPLAINTS, ROOT, START_SECONDS
from tests.support.waiting import eventually

COLUMNS, ROWS = 80, 24
CTRL_C, CTRL_D = "\x03", "\x04"


def environment(**more: str) -> dict[str, str]:
    """Of a process that finds the code and no settings."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AGENT_GATEWAY_") and name not in ("EDITOR", "VISUAL", "NO_COLOR")
    }
    path = f"{ROOT}{os.pathsep}{inherited.get('PYTHONPATH', '')}"
    return {**inherited, "PYTHONPATH": path, "TERM": "xterm-256color", **more}


def command(*arguments: str) -> list[str]:
    """`agent-gateway chat …`."""
    return [sys.executable, "-m", "gateway.cli", "chat", *arguments]


@contextmanager
def without_terminal(
    *arguments: str, folder: Path, stdout: int | None = None, stderr: int | None = None
) -> Generator["subprocess.Popen[bytes]"]:
    """The same as a process with nobody at its keyboard. Killed at the end."""
    with subprocess.Popen(
        command(*arguments),
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class _Screen(pyte.HistoryScreen):
    """A terminal that also answers where its cursor is."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(COLUMNS, ROWS, history=10_000, ratio=0.5)
        self._descriptor = descriptor

    def write_process_input(self, data: str) -> None:
        os.write(self._descriptor, data.encode())


class ChatTerminal:
    """`async with ChatTerminal("--url", …) as chat:`; killed at the end if it still runs."""

    def __init__(self, *arguments: str, folder: Path, **variables: str) -> None:
        self._arguments = command(*arguments)
        self._folder = folder
        self._environment = environment(**variables)
        self._process: subprocess.Popen[bytes] | None = None
        self._open = False
        self._keyboard = -1

    async def __aenter__(self) -> Self:
        self._keyboard, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._screen = _Screen(self._keyboard)
        self._stream = pyte.ByteStream(self._screen)
        setpriv = shutil.which("setpriv")
        dying = [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]
        self._process = subprocess.Popen(
            [*dying, "setsid", "--ctty", *self._arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=self._folder,
            env=self._environment,
        )
        os.close(terminal)
        self._open = True
        asyncio.get_running_loop().add_reader(self._keyboard, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self.close()
        found = [text for text in COMPLAINTS if text in self.text]
        assert not found, f"the chat wrote {found}:\n{self.text}"

    def _read(self) -> None:
        try:
            data = os.read(self._keyboard, 65_536)
        except OSError:  # nobody has the other end any more
            data = b""
        if data:
            self._stream.feed(data)
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        self._open = False
        asyncio.get_running_loop().remove_reader(self._keyboard)

    @property
    def text(self) -> str:
        """Everything that is on the screen or has scrolled out of it, line by line."""
        past: Any = self._screen.history.top
        lines = ["".join(row[x].data for x in range(COLUMNS)) for row in past]
        return "\n".join(line.rstrip() for line in [*lines, *self._screen.display]).rstrip()

    @property
    def words(self) -> str:
        """The same without line ends: a text that was wrapped is found in it."""
        return " ".join(self.text.split())

    @property
    def line_mode(self) -> bool:
        """The keyboard is read line by line, and Ctrl-D is not a key like the others."""
        return bool(termios.tcgetattr(self._keyboard)[3] & termios.ICANON)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._keyboard, keys.encode())

    def enter(self, line: str) -> None:
        """Type a line and press Enter."""
        self.type(line + "\r")

    async def sees(self, text: str, within: float = START_SECONDS) -> None:
        """Wait until the text is there."""
        try:
            await eventually(lambda: text in self.words, within=within, what=text)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is:\n{self.text}") from None

    async def ends(self) -> int:
        """Its exit code."""
        process = self._process
        assert process is not None
        await eventually(
            lambda: process.poll() is not None and not self._open, within=30, what="it ends"
        )
        return process.returncode

    def close(self) -> None:
        """Close the window; harmless when it is closed."""
        if self._open:
            self._hang_up()
        if self._keyboard >= 0:
            os.close(self._keyboard)
            self._keyboard = -1

    async def kill(self) -> None:
        """End it with no time for anything."""
        process = self._process
        assert process is not None
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            await eventually(lambda: process.poll() is not None, what="it is gone")
