"""The bytes of WebSocket frames that most messages are (RFC 6455 section 5.2), and nothing else.

What is wrong with a frame is not found here but by the parser, which gets whatever is not simple.
"""

from websockets.frames import (
    apply_mask,  # pyright: ignore[reportPrivateImportUsage] - in C where there is a compiler
)

WHOLE_TEXT = 0x81
MASKED = 0x80
SMALL_HEAD = 6
SMALL_BYTES = 125


def text_header(size: int) -> bytes:
    """The head of an unmasked, unfragmented text frame (RFC 6455 section 5.2)."""
    if size < 126:
        return bytes((0x81, size))
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


def small_text(data: bytes) -> bool:
    """Whether it is one whole, masked text frame of the shortest form, and nothing more."""
    size = len(data) - SMALL_HEAD
    return 0 <= size <= SMALL_BYTES and data[0] == WHOLE_TEXT and data[1] == MASKED | size


def frame_end(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the masked frame at `at` begins and ends, as far as it can be seen.

    Of an incomplete head: (0, where more of it ends). RFC 6455 section 5.2.
    """
    left = len(data) - at
    if left < 2:
        return 0, at + 2
    size = data[at + 1] & 0x7F
    if size < 126:
        return at + 6, at + 6 + size
    head = 8 if size == 126 else 14
    if left < head - 4:  # the mask is of no interest here
        return 0, at + head - 4
    return at + head, at + head + int.from_bytes(data[at + 2 : at + head - 4], "big")


def unmasked(data: bytes, begin: int, end: int) -> bytes:
    """The payload of a masked frame; its mask stands before it."""
    return apply_mask(data[begin:end], data[begin - 4 : begin])


class Framed:
    """The newest message as a WebSocket frame: most go to many connections one after another."""

    __slots__ = ("frame", "message")

    def __init__(self) -> None:
        self.message = b""
        self.frame = b""

    def make(self, message: bytes) -> bytes:
        """Frames another message."""
        size = len(message)
        if 126 <= size < 65_536:
            frame = b"\x81\x7e" + size.to_bytes(2, "big") + message
        else:
            frame = text_header(size) + message
        self.frame, self.message = frame, message
        return frame
