"""Cuts a growing Markdown text into blocks that will not change any more.

A block ends at an empty line outside a code fence. One that gets longer than `LONGEST` is cut at
the end of a line, or of a word; a fence that is cut is closed and opened again.
"""

import re

LONGEST = 4_000
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


class Blocks:
    """One text; give it the whole text so far each time."""

    def __init__(self) -> None:
        self._offset = 0
        self._reopen = ""  # the line that opens the fence again which the last cut was in

    def take(self, text: str, *, closed: bool = False) -> str:
        """What is complete and was not given yet; with `closed` all the rest."""
        rest = text[self._offset :]
        end, fence = (len(rest), "") if closed else _boundary(rest, self._reopen)
        if not end and len(rest) + len(self._reopen) > LONGEST:
            end, fence = _forced(rest, self._reopen)
        if not end:
            return ""
        begin, self._reopen = self._reopen, fence
        self._offset += end
        return begin + rest[:end] + (f"\n{_marker(fence)}\n" if fence else "")

    def rest(self, text: str) -> str:
        """What is not complete."""
        rest = text[self._offset :]
        return self._reopen + rest if rest else ""


def paragraphs(text: str) -> list[str]:
    """The blocks of a text, each for itself."""
    found: list[str] = []
    begin = at = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        at += len(line)
        fence = _after(line, fence)
        if not fence and not line.strip():
            found.append(text[begin:at])
            begin = at
    return [block for block in (*found, text[begin:]) if block.strip()]


def _boundary(text: str, fence: str) -> tuple[int, str]:
    """The end of the last empty line outside a fence; 0: there is none."""
    end = at = 0
    for line in text.splitlines(keepends=True):
        at += len(line)
        if not line.endswith("\n"):
            break
        fence = _after(line, fence)
        if not fence and not line.strip():
            end = at
    return end, ""


def _forced(text: str, fence: str) -> tuple[int, str]:
    end = text.rfind("\n", 0, LONGEST) + 1 or text.rfind(" ", 0, LONGEST) + 1
    end = end or min(len(text), LONGEST)
    for line in text[:end].splitlines(keepends=True):
        fence = _after(line, fence)
    return end, fence


def _after(line: str, fence: str) -> str:
    """The line that opened the fence which is open after `line`."""
    found = _FENCE.match(line)
    if found is None:
        return fence
    if not fence:
        return line.rstrip("\n") + "\n"
    closes = found[1].startswith(_marker(fence)) and not found[2].strip()
    return "" if closes else fence


def _marker(fence: str) -> str:
    found = _FENCE.match(fence)
    return found[1] if found else ""
