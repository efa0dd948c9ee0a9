"""A process that publishes one message per byte on its standard input, each to the next room.

    python -m loadtest.peers.publisher SPEC        SPEC: a `Spec` as JSON

It speaks neither a product's format nor Redis: it fills room and text into the bytes that the
product's own publisher was seen to send, and checks that no answer is an error. Numbers have a
fixed width, so lengths inside the bytes stay right.
"""

import os
import select
import socket
import sys

import msgspec

from loadtest.peers.inbox import TEXT_BYTES

REFUSED = (b"-ERR", b"-NOPERM", b"-OOM", b"-NOSCRIPT", b"HTTP/1.1 4", b"HTTP/1.1 5")


def room_name(number: int) -> str:
    """Room `number`; all names are of one length."""
    return f"room{number:05}"


def text_of(number: int) -> str:
    """The payload of message `number`, `TEXT_BYTES` long."""
    return f"{number:012}".ljust(TEXT_BYTES, "x")


class Spec(msgspec.Struct, frozen=True):
    """`template` is one request that holds `room_name(0)` and `text_of(0)`."""

    port: int
    connections: int  # each answers in order, so more of them keep more under way
    rooms: int
    template: bytes

    def request(self, number: int) -> bytes:
        """What publishes message `number`."""
        room = room_name(number % self.rooms).encode()
        filled = self.template.replace(room_name(0).encode(), room)
        return filled.replace(text_of(0).encode(), text_of(number).encode())


def publish(spec: Spec, credits_fd: int) -> None:
    """Until the end of the input."""
    links = [socket.create_connection(("127.0.0.1", spec.port)) for _ in range(spec.connections)]
    for link in links:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    number = 0
    while True:
        readable, _, _ = select.select([credits_fd, *links], [], [])
        for link in readable:
            if isinstance(link, socket.socket):
                _check(link.recv(1 << 16))
        if credits_fd not in readable:
            continue
        count = len(os.read(credits_fd, 1 << 16))
        if not count:
            return
        for part, link in enumerate(links):
            numbers = range(number + part, number + count, len(links))
            if numbers:
                link.sendall(b"".join(map(spec.request, numbers)))
        number += count
        links = links[count % len(links) :] + links[: count % len(links)]


def _check(answer: bytes) -> None:
    if not answer or any(word in answer for word in REFUSED):
        sys.exit(f"A message was not taken: {answer[:200]!r}")


if __name__ == "__main__":
    publish(msgspec.json.decode(sys.argv[1], type=Spec), sys.stdin.fileno())
