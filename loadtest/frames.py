"""WebSocket frames by hand, as far as a load generator needs them (RFC 6455 section 5).

Whatever is received in one read is walked header by header and then searched as a whole; nothing
is copied, decoded or checked per frame. Not a parser for input that one does not trust.
"""

import base64
import os

TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
_NO_MASK = b"\0\0\0\0"
"""Clients must mask; with this key masking changes nothing."""


def scan(
    buffer: bytearray, size: int, others: list[tuple[int, int, int]], *, blank: bool = False
) -> int:
    """Where the last whole frame of `buffer[:size]` ends.

    Frames that are no whole text message are added to `others`: first byte, start and end of
    their payload. With `blank` the lengths are overwritten, so that a search of the whole buffer
    finds nothing in them (126 is also a `~`); `texts` is of no use then.
    """
    at = 0
    while size - at >= 2:
        length = buffer[at + 1]
        start = at + 2
        if length == 126:
            start = at + 4
            if start > size:
                break
            length = buffer[at + 2] << 8 | buffer[at + 3]
            if blank and start + length <= size:
                buffer[at + 1] = buffer[at + 2] = buffer[at + 3] = 0
        elif length == 127:
            start = at + 10
            if start > size:
                break
            length = int.from_bytes(buffer[at + 2 : start], "big")
            if blank and start + length <= size:
                buffer[at + 1 : start] = bytes(9)
        end = start + length
        if end > size:
            break
        if buffer[at] != TEXT:
            others.append((buffer[at], start, end))
        at = end
    return at


def texts(buffer: bytearray, end: int) -> list[bytes]:
    """The payloads of the text frames of `buffer[:end]`, which ends with a whole frame."""
    found: list[bytes] = []
    at = 0
    while at < end:
        head, length, start = buffer[at], buffer[at + 1], at + 2
        if length == 126:
            length, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
        elif length == 127:
            length, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
        at = start + length
        if head == TEXT:
            found.append(bytes(buffer[start:at]))
    return found


def masked(payload: bytes, head: int = TEXT) -> bytes:
    """One frame of a client."""
    return _header(head, len(payload), 0x80) + _NO_MASK + payload


def unmasked(payload: bytes, head: int = TEXT) -> bytes:
    """One frame of a server."""
    return _header(head, len(payload), 0) + payload


def _header(head: int, size: int, mask: int) -> bytes:
    if size < 126:
        return bytes((head, mask | size))
    if size < 65_536:
        return bytes((head, mask | 126)) + size.to_bytes(2, "big")
    return bytes((head, mask | 127)) + size.to_bytes(8, "big")


def upgrade(host: str, path: str, protocol: str | None = None) -> bytes:
    """The request that asks for a WebSocket (RFC 6455 section 4.1)."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    if protocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    return "\r\n".join([*lines, "", ""]).encode()
