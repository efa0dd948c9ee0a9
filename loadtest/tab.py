"""One socket of the load generator, and what it has subscribed to. No policy, no parsing."""

import math
import socket
from collections.abc import Iterable

from loadtest.errors import LoadError
from loadtest.frames import masked

CONNECT_S = 20.0


class Place:
    """How far one subscription has read."""

    __slots__ = ("ack_at", "acked", "ended", "epoch", "reset", "seq", "session", "start")

    def __init__(self, session: str) -> None:
        self.session = session
        self.epoch = ""
        self.seq = 0
        self.start = 0
        """The cursor when the count of events began."""
        self.acked = 0
        self.ack_at = math.inf
        self.ended = False
        """Its run is over."""
        self.reset = False
        """It asked for the events after its cursor and got a state instead."""


class Tab:
    """A client: a socket, its places, and what it has received."""

    __slots__ = (
        "_backlog",
        "client",
        "events",
        "index",
        "merged",
        "places",
        "ready",
        "rest",
        "resuming",
        "sock",
        "stalled",
        "tokens",
        "welcome",
    )

    def __init__(self, index: int, client: str, sessions: Iterable[str]) -> None:
        self.index = index
        self.client = client
        self.places = {session.encode(): Place(session) for session in sessions}
        self.sock: socket.socket | None = None
        self.rest = b""
        """The beginning of a frame that has not arrived as a whole."""
        self.ready: set[bytes] = set()
        """Places that are subscribed, or (resuming) have caught up."""
        self.welcome = False
        """The gateway has answered its hello."""
        self.resuming = False
        self.stalled = False
        """It does not read."""
        self.events = self.merged = self.tokens = 0
        self._backlog = bytearray()

    @property
    def sees_all(self) -> bool:
        """Whether every place is subscribed, or has caught up."""
        return self.welcome and len(self.ready) == len(self.places)

    def connect(self, host: str, port: int, request: bytes) -> None:
        """Asks for a connection and sends the request; `opened` takes the answer."""
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.settimeout(CONNECT_S)
        try:
            sock.connect((host, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(request)
        except OSError as error:
            sock.close()
            raise LoadError(
                f"{host}:{port} cannot be reached ({error}): is a gateway running there, and does "
                "`ulimit -n` allow so many sockets?"
            ) from None
        self.sock, self.rest, self._backlog = sock, b"", bytearray()
        self.ready, self.welcome = set(), False

    def opened(self) -> None:
        """Takes the answer to the request; afterwards the socket does not block.

        Raises:
            LoadError: it is not a WebSocket.
        """
        assert self.sock is not None
        answer = b""
        try:
            while b"\r\n\r\n" not in answer:
                data = self.sock.recv(65_536)
                if not data:
                    break
                answer += data
        except OSError as error:
            raise LoadError(f"The gateway did not answer a handshake: {error}") from None
        head, _, self.rest = answer.partition(b"\r\n\r\n")
        status = head.split(b"\r\n", 1)[0].decode("latin-1")
        if " 101 " not in status:
            raise LoadError(
                f"The gateway answered {status or 'nothing'!r} to a handshake: check the path of "
                "the URL (/v1/ws), and raise its --handshakes-per-s and --max-connections."
            )
        self.sock.setblocking(False)

    def say(self, *texts: bytes) -> None:
        """Sends text messages; what the socket does not take waits for `flush`."""
        self.send(b"".join(map(masked, texts)))

    def send(self, data: bytes) -> None:
        """Sends whole frames."""
        if self._backlog or self.sock is None:
            self._backlog += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # reading will tell
        if sent < len(data):
            self._backlog += data[sent:]

    def flush(self) -> None:
        """Sends what was left; nothing if there is nothing."""
        if self._backlog:
            data, self._backlog = bytes(self._backlog), bytearray()
            self.send(data)

    def cut(self) -> None:
        """Drops the connection without a goodbye; acks that were due are due no more."""
        for place in self.places.values():
            place.ack_at = math.inf
        if self.sock is not None:
            self.sock.close()
        self.sock = None
