"""Processes whose wall clock is wrong, or jumps while they run (libfaketime of Debian).

Only the wall clock: monotonic time goes on as it is, as it does when a real clock is set.
"""

from pathlib import Path


class FakeClock:
    """The wall clock of whatever is started with `environment`; off by `offset_s` seconds."""

    def __init__(self, folder: Path, offset_s: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "faketime"
        self.jump(offset_s)

    def jump(self, offset_s: int) -> None:
        """From now on the clock is off by so many seconds, negative: behind."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset_s:+d}\n")
        new.replace(self._file)  # never half written

    @property
    def environment(self) -> dict[str, str]:
        """For a process to be started with.

        Raises:
            FileNotFoundError: libfaketime is not there; the text names the remedy.
        """
        return {
            "LD_PRELOAD": str(find_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


def find_library() -> Path:
    """Where libfaketime is, on any architecture of Debian."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise FileNotFoundError("libfaketime is missing: run tools/system-packages (or make test)")
    return found[0]
