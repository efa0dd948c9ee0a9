"""Who may publish, and when: the way from the load generator to whoever makes the events.

The generator listens (`Desk`); every process that publishes connects once, says which slots
(sessions, or channels of a peer) it publishes for, a line of JSON each, and gets records down: a
slot and the intended time of one event in microseconds, 0 for "now". In a closed loop a record
comes for every event that has arrived, in an open loop at the time of a schedule. When the
generator hangs up there will be no more. At the end the publisher may say how late it was.
"""

import socket
import struct
from collections.abc import Iterable
from typing import Literal

import msgspec

from loadtest.errors import LoadError
from loadtest.histogram import Histogram
from loadtest.result import Latency

Verb = Literal["emit", "write", "call"]
"""What a publisher does with a credit: one event, one token; or (without credits) tool calls."""
RECORD = struct.Struct("<IQ")
STOP = 0xFFFF_FFFF
"""The slot of the record that asks for the publisher's lag; the publisher then hangs up."""
SEND_S = 30.0


class Slot(msgspec.Struct, frozen=True):
    """A publisher's line: I publish for this slot."""

    slot: int


class Lag(msgspec.Struct, frozen=True):
    """A publisher's last line: how late it was, if there was a schedule."""

    lag: Latency | None


_LINE: msgspec.json.Decoder[dict[str, object]] = msgspec.json.Decoder(dict[str, object])


class Desk:
    """Gives credits to publishers on loopback. Its owner polls `descriptors` and calls `ready`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._publishers: dict[int, socket.socket] = {}  # descriptor -> its connection
        self._rests: dict[int, bytes] = {}  # descriptor -> an unfinished line
        self.slots: dict[int, socket.socket] = {}  # slot -> its publisher
        self.lag = Histogram()

    @property
    def port(self) -> int:
        """Where publishers connect."""
        return self._listener.getsockname()[1]

    @property
    def listening(self) -> int:
        """The descriptor that becomes readable when a publisher comes."""
        return self._listener.fileno()

    @property
    def publishers(self) -> int:
        """How many are connected."""
        return len(self._publishers)

    def accept(self) -> int:
        """A publisher's descriptor, to be polled as well."""
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(SEND_S)
        self._publishers[connection.fileno()] = connection
        self._rests[connection.fileno()] = b""
        return connection.fileno()

    def read(self, descriptor: int) -> bool:
        """Takes what a publisher said; False when it has hung up: poll it no more."""
        connection = self._publishers[descriptor]
        try:
            data = connection.recv(65_536)
        except ConnectionError:
            data = b""
        if not data:
            del self._publishers[descriptor]
            connection.close()
            self.slots = {s: c for s, c in self.slots.items() if c is not connection}
            return False
        *lines, self._rests[descriptor] = (self._rests[descriptor] + data).split(b"\n")
        for line in lines:
            told = _LINE.decode(line)
            if "slot" in told:
                self.slots[msgspec.convert(told, Slot).slot] = connection
            else:
                self.lag.merge(msgspec.convert(told, Lag).lag)
        return True

    def give(self, slots: Iterable[int], at_us: int = 0) -> None:
        """One credit for each of `slots`; those nobody publishes for are left out."""
        batches: dict[socket.socket, list[bytes]] = {}
        for slot in slots:
            if (connection := self.slots.get(slot)) is not None:
                batches.setdefault(connection, []).append(RECORD.pack(slot, at_us))
        self._send(batches)

    def give_at(self, due: Iterable[tuple[int, int]]) -> None:
        """One credit for each (slot, intended time)."""
        batches: dict[socket.socket, list[bytes]] = {}
        for slot, at_us in due:
            if (connection := self.slots.get(slot)) is not None:
                batches.setdefault(connection, []).append(RECORD.pack(slot, at_us))
        self._send(batches)

    def stop(self) -> None:
        """Asks every publisher for its lag and to hang up."""
        self._send({c: [RECORD.pack(STOP, 0)] for c in self._publishers.values()})

    def close(self) -> None:
        """Hangs up and listens no more."""
        self._listener.close()
        for connection in self._publishers.values():
            connection.close()

    def _send(self, batches: dict[socket.socket, list[bytes]]) -> None:
        for connection, records in batches.items():
            try:
                connection.sendall(b"".join(records))
            except TimeoutError:
                raise LoadError(
                    "A publisher has taken no credit for 30 s: it hangs, or the rate is far above "
                    "what it can do; lower --rate."
                ) from None
            except ConnectionError:
                continue  # it has ended; `read` notices


def line(told: Slot | Lag) -> bytes:
    """A publisher's line."""
    return msgspec.json.encode(told) + b"\n"
