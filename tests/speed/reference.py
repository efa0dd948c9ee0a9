"""A fixed piece of work that paths are compared with; it uses nothing of the gateway.

What the hot paths are made of, in about their proportions: method calls and attributes, dicts and
deques, bytes spliced and joined, a Struct encoded and decoded, futures and
tasks. How fast it runs says how fast this machine, with this Python, is just now. Changing it
makes every stored ratio worthless: store them anew in the same change.
"""

import asyncio
from collections import deque

import msgspec
from msgspec import Struct

READERS, KEPT, TASKS = 10, 16, 64
EVENTS = 512


class Note(Struct, tag="note", frozen=True):
    """A small value with what an event has."""

    time: str
    author: str
    part: int
    text: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Note).decode


class Room:
    """A ring of the newest lines."""

    __slots__ = ("head", "last", "ring", "size")

    def __init__(self, name: str) -> None:
        self.head = b'{"room":"%b","at":' % name.encode()
        self.last = 0
        self.ring: deque[bytes] = deque()
        self.size = 0

    def take(self, line: bytes) -> bytes:
        self.last = at = self.last + 1
        line = b"%b%d,%b" % (self.head, at, line[1:])
        self.ring.append(line)
        self.size += len(line)
        while len(self.ring) > KEPT:
            self.size -= len(self.ring.popleft())
        return line


class Reader:
    """Has a place in every room that it was told of, and joins what is new there."""

    __slots__ = ("places", "read", "told")

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.told: dict[str, bytes] = {}
        self.read = 0

    def tell(self, room: str, line: bytes) -> None:
        self.told[room] = line

    def join(self) -> bytes:
        for room in self.told:
            self.places[room] = self.places.get(room, 0) + 1
        self.read += len(self.told)
        joined = b"\n".join(self.told.values())
        self.told.clear()
        return joined


class Reference:
    """Rooms (`breadth` of them), readers, and tasks that wait for one another.

    It has to be as broad as what it is compared with: work on what does not fit into the caches is
    slowed by other programs much more than work on what does.
    """

    def __init__(self, breadth: int) -> None:
        self._rooms = {f"room_{n:06d}": Room(f"room_{n:06d}") for n in range(breadth)}
        self._names = list(self._rooms)
        self._readers = [Reader() for _ in range(max(1, breadth // READERS))]
        self._note = Note("2026-01-01T00:00:00.000Z", "a_0123456789abcdef", 0, "x" * 75)
        self._next = 0
        self._waiting: list[asyncio.Future[int]] = []
        self.bytes = 0

    async def turn(self) -> None:
        """The same work every time: 1 to 2 ms."""
        self._spread()
        async with asyncio.TaskGroup() as group:
            for _ in range(TASKS):
                group.create_task(self._wait())

    def _spread(self) -> None:
        names, readers = self._names, self._readers
        for at in range(EVENTS):
            name = names[(self._next + at) % len(names)]
            line = self._rooms[name].take(_encode(self._note))
            readers[at % len(readers)].tell(name, line)
            readers[(at + 1) % len(readers)].tell(name, line)
            if at % 3 == 0:
                assert _decode(line) == self._note
        self._next += EVENTS
        for reader in readers:
            self.bytes += len(reader.join())

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(5):
            future: asyncio.Future[int] = loop.create_future()
            if not self._waiting:
                loop.call_soon(self._release)
            self._waiting.append(future)
            await future

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, []
        for at, future in enumerate(waiting):
            future.set_result(at)
