"""A disk of its own, small enough to fill: a tmpfs, so the kernel itself says that it is full."""

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.processes import find_program

PIECE = b"\0" * 4096


class Disk:
    """A file system at `path`, of which nobody but the test and its server has a share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """From now on every write that needs another block fails."""
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(PIECE)
        assert os.statvfs(self.path).f_bavail == 0

    def free(self) -> None:
        """There is room again."""
        self._ballast.unlink()


@contextmanager
def small_disk(path: Path, mebibytes: int = 8) -> Generator[Disk]:
    """Mounted for as long as the block takes.

    Raises:
        AssertionError: it could not be mounted; says what that needs.
    """
    path.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(path))
    try:
        yield Disk(path)
    finally:
        _run("umount", "--lazy", str(path))  # a server that was killed may still be ending


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [find_program(program), *arguments], capture_output=True, text=True, check=False
    )
    text = f"{program} {' '.join(arguments)}: {done.stderr.strip()} (mounting a disk needs root)"
    assert done.returncode == 0, text
