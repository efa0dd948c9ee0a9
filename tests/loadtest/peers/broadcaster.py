"""A WebSocket server of a few lines: each byte from its pipe is one event, for all or in turn."""

import socket
import threading
from collections.abc import Callable

from loadtest.frames import unmasked
from loadtest.peers.inbox import TEXT_BYTES

EVENT = unmasked(b"e" * TEXT_BYTES)
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


class Broadcaster:
    """Takes as many sockets as it is told, then events; `drops(n)` says which events get lost."""

    def __init__(
        self,
        orders: socket.socket,
        *,
        sockets: int,
        in_turn: bool = False,
        drops: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._orders = orders
        self._sockets = sockets
        self._in_turn = in_turn
        self._drops = drops
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def join(self) -> None:
        """After the end of the credits."""
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        receivers: list[socket.socket] = []
        with self._listener:
            while len(receivers) < self._sockets:
                receiver, _ = self._listener.accept()
                while not receiver.recv(4096).endswith(b"\r\n\r\n"):
                    pass
                receiver.sendall(ACCEPTED)
                receivers.append(receiver)
        number = 0
        while more := self._orders.recv(4096):
            for _ in more:
                if not self._drops(number):
                    turn = number % self._sockets
                    for receiver in receivers[turn : turn + 1] if self._in_turn else receivers:
                        receiver.sendall(EVENT)
                number += 1
        for receiver in receivers:
            receiver.close()
