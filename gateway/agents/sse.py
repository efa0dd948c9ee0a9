"""Server-Sent Events as bytes in, events out (WHATWG HTML, section 9.2.6).

Sans-I/O, and blind to what the events mean. Lenient where streams of model providers need it: the
last event counts even if the blank line that should end it never came.
"""

import re

from msgspec import Struct

_LINE_END = re.compile(rb"\r\n|\r|\n")
MAX_EVENT_BYTES = 8 * 1024 * 1024


class SseEvent(Struct, frozen=True):
    """One event: its `event` field (empty if it had none) and its data lines, joined."""

    event: str
    data: str


class SseTooLarge(ValueError):
    """An event grew beyond the limit; the stream cannot be read on."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(limit)

    def __str__(self) -> str:
        return f"a server-sent event is larger than {self.limit} bytes"


class SseDecoder:
    """Reads one stream. Comments, ids and retry times are dropped; bad UTF-8 is replaced."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._rest = bytearray()  # the line that has not ended
        self._skip_newline = False  # the \n of a \r\n that was cut in two
        self._first = True
        self._event = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that these bytes, cut anywhere, complete.

        Raises:
            SseTooLarge: see there.
        """
        if not data:
            return []
        if self._skip_newline and data[:1] == b"\n":
            data = data[1:]
        self._skip_newline = data[-1:] == b"\r"
        # Only the new bytes are searched: a line that comes in many pieces costs its length once.
        first, *lines = _LINE_END.split(data)
        self._rest += first
        if len(self._rest) > self._limit:
            raise SseTooLarge(self._limit)
        if not lines:
            return []
        lines.insert(0, bytes(self._rest))
        self._rest = bytearray(lines.pop())
        return [event for line in lines if (event := self._line(line)) is not None]

    def end(self) -> list[SseEvent]:
        """The stream is over: the event that was not ended by a blank line, if there is one."""
        line, self._rest = bytes(self._rest), bytearray()
        if line:
            self._line(line)
        event = self._line(b"")
        return [] if event is None else [event]

    def _line(self, line: bytes) -> SseEvent | None:
        if self._first:
            self._first, line = False, line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        self._size += len(line)
        if self._size > self._limit:
            raise SseTooLarge(self._limit)
        name, _, raw = line.lstrip(b" ").partition(b":")
        value = raw.removeprefix(b" ").decode(errors="replace")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value
        return None

    def _dispatch(self) -> SseEvent | None:
        event = SseEvent(self._event, "\n".join(self._data)) if self._data else None
        self._event, self._size = "", 0
        self._data = []
        return event
