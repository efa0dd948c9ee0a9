"""Many receivers on one epoll: connect, count what comes, answer pings.

It knows WebSocket and how a product greets, but neither rooms nor what is measured.
"""

import select
import socket
import time
from collections.abc import Iterator
from typing import Self

from loadtest.frames import masked, upgrade
from loadtest.peers.inbox import Broken, Inbox

READ_BYTES = 1 << 17
CONNECT_S = 20.0


class Swarm:
    """`with Swarm(port) as swarm:` closes all its sockets at the end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._epoll = select.epoll()
        self._buffer = memoryview(bytearray(READ_BYTES))  # of every read: allocating costs more
        self._receivers: dict[int, tuple[int, socket.socket, Inbox]] = {}  # by descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_how: object) -> None:
        for _, receiver, _ in self._receivers.values():
            receiver.close()
        self._epoll.close()

    def connect(self, path: str, *, engine: bool) -> int:
        """One more receiver, open and greeted; returns its index, 0, 1, 2 …

        `engine`: the server speaks Engine.IO and waits for Socket.IO's `40`. A server that is not
        ready yet (503) is asked again.
        """
        receiver, inbox = self._open(path), Inbox()
        if engine:
            self._await(receiver, inbox, b"0{")
            receiver.sendall(masked(b"40"))
            self._await(receiver, inbox, b"40")
        receiver.setblocking(False)
        index = len(self._receivers)
        self._receivers[receiver.fileno()] = (index, receiver, inbox)
        self._epoll.register(receiver.fileno(), select.EPOLLIN)
        return index

    def _open(self, path: str) -> socket.socket:
        """A socket with a handshake that was accepted; what follows it is unread."""
        deadline = time.monotonic() + CONNECT_S
        while True:
            receiver = socket.create_connection(("127.0.0.1", self._port), CONNECT_S)
            receiver.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            receiver.sendall(upgrade(f"127.0.0.1:{self._port}", path))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += self._more(receiver, 1)
            if head.startswith(b"HTTP/1.1 101"):
                return receiver
            receiver.close()
            if not head.startswith(b"HTTP/1.1 503") or time.monotonic() > deadline:
                raise Broken(head.decode(errors="replace"))
            time.sleep(0.05)

    def _await(self, receiver: socket.socket, inbox: Inbox, start: bytes) -> None:
        while not any(text.startswith(start) for text in inbox.texts):
            inbox.feed(self._more(receiver))
        inbox.texts.clear()

    @staticmethod
    def _more(receiver: socket.socket, size: int = 4096) -> bytes:
        data = receiver.recv(size)
        if not data:
            raise Broken("the server closed the connection")
        return data

    def arrivals(self, timeout_s: float) -> Iterator[tuple[int, int]]:
        """(index, new events) of the receivers that got something within the time.

        Raises:
            Broken: the server closed one of them, or sent something unexpected.
        """
        for descriptor, _ in self._epoll.poll(timeout_s):
            index, receiver, inbox = self._receivers[descriptor]
            size = receiver.recv_into(self._buffer)
            if not size:
                raise Broken("the server closed a connection")
            count = inbox.feed(bytes(self._buffer[:size]))
            if inbox.answers:
                receiver.sendall(inbox.answers)
                inbox.answers = b""
            if count:
                yield index, count
