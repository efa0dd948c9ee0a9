"""A Redis or Valkey Cluster that looks like one server: which node has a slot, and asking it.

Every command names keys of one slot (`layout`), so it goes to one node. A node that has not the
slot has not executed the command: it is asked again where the answer points to. A lost connection
is another thing, nobody knows what was executed: it is an error, and the nodes are looked up anew.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from typing import Any

from redis.asyncio.connection import Connection
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as LostConnection

from gateway.broker.redis.address import Address, Place
from gateway.broker.redis.servers import Node, connecting
from gateway.broker.redis.stream import Argument
from gateway.broker.redis.wire import CALL_S, Command, Wire

# One node that hangs leaves time for another within a verb's 2 s.
LOOK_S = 0.4
AGAIN_S = 0.05
AGAIN_FOR_S = 1.5


class Cluster:
    """The `Servers` of a Cluster."""

    def __init__(self, address: Address) -> None:
        self.place = address.place
        self._url = address.url
        self._seeds = address.hosts
        connecting(address.url)  # whoever cannot read the URL says so now
        # Those that left stay: they are few, and their connections are closed from there.
        self._nodes: dict[Place, Node] = {}
        self._closed = False
        self._map = _Slots([])
        # Loop time of the last look; None: look before the next command.
        self._looked_at: float | None = None
        # Who answered the last look, if somebody did.
        self._answered: list[Place] = []
        self._looking = asyncio.Lock()

    async def execute(self, *command: Argument, reads: bool = False) -> Any:
        async with asyncio.timeout(CALL_S):
            return await self._execute(command, _now() + AGAIN_FOR_S, reads=reads)

    async def _execute(self, command: Command, until: float, *, reads: bool) -> Any:
        slot = _slot_of(command)
        while True:
            place = await self._place(slot, until)
            try:
                return await self._execute_at(place, command, reads=reads)
            except (MovedError, ClusterDownError, TryAgainError) as error:
                if _now() > until:
                    raise
                if isinstance(error, MovedError):
                    self._map.move(slot, _pointed_to(error, place))
                else:
                    self._looked_at = None
                await asyncio.sleep(AGAIN_S)
            except (LostConnection, OSError, TimeoutError):
                self._looked_at = None
                raise

    async def _execute_at(self, place: Place, command: Command, *, reads: bool) -> Any:
        try:
            return await self._node(place).execute(command, reads=reads)
        except MovedError:  # which is an AskError
            raise
        except AskError as ask:
            node = self._node(_pointed_to(ask, place))
            _, answer = await (node.reads if reads else node.writes).calls([("ASKING",), command])
            if isinstance(answer, Exception):
                raise answer from ask
            return answer

    async def batch(self, commands: Sequence[Command]) -> list[Any]:
        async with asyncio.timeout(CALL_S):
            return await self._batch(commands, _now() + AGAIN_FOR_S)

    async def _batch(self, commands: Sequence[Command], until: float) -> list[Any]:
        places = [await self._place(_slot_of(command), until) for command in commands]
        answers: dict[int, Any] = {}
        try:
            for place in dict.fromkeys(places):
                mine = [i for i, its in enumerate(places) if its == place]
                found = await self._node(place).batch([commands[i] for i in mine])
                answers.update(zip(mine, found, strict=True))
        except (AskError, ClusterDownError, TryAgainError):
            return [await self._execute(command, until, reads=True) for command in commands]
        except (LostConnection, OSError, TimeoutError):
            self._looked_at = None
            raise
        return [answers[i] for i in range(len(commands))]

    async def everywhere(self, *command: Argument) -> list[Any]:
        async with asyncio.timeout(CALL_S):
            await self._look()
            return [await self._node(place).writes.call(*command) for place in self._map.places()]

    def writes(self, key: bytes) -> Wire | None:
        place = None if self._looked_at is None else self._map.find(key_slot(key))
        node = None if place is None else self._nodes.get(place)
        return None if node is None else node.writes

    def connection(self, channel: bytes) -> Connection:
        look_up = partial(self._place_for_listening, self.slot(channel))
        return connecting(self._url, look_up=look_up)()

    async def close(self) -> None:
        self._closed = True
        for node in self._nodes.values():
            await node.close()

    @staticmethod
    def slot(key: bytes) -> int:
        """The slot of a key or channel, by its hash tag."""
        return key_slot(key)

    async def _place_for_listening(self, slot: int) -> Place:
        self._looked_at = None  # who connects anew has lost a connection
        return await self._place(slot, _now() + AGAIN_FOR_S)

    async def _place(self, slot: int, until: float) -> Place:
        while True:
            if self._looked_at is None:
                await self._look()
            if (place := self._map.find(slot)) is not None:
                return place
            if _now() > until:
                raise LostConnection(f"no node of the Cluster has slot {slot}")
            self._looked_at = None
            await asyncio.sleep(AGAIN_S)

    def _node(self, place: Place) -> Node:
        node = self._nodes.get(place)
        if node is None:
            if self._closed:
                raise LostConnection("closed")
            node = self._nodes[place] = Node(connecting(self._url, place=place))
        return node

    async def _look(self) -> None:
        """Asks one node after the other which node has what."""
        before = self._looked_at
        async with self._looking:
            if self._looked_at is not None and self._looked_at != before:
                return  # somebody else did, meanwhile
            error: Exception | None = None
            for place in (*self._answered, *self._map.places(), *self._seeds):
                try:
                    async with asyncio.timeout(LOOK_S):
                        slots = await self._node(place).reads.call("CLUSTER", "SLOTS")
                except (RedisError, OSError, TimeoutError) as failed:
                    error = failed
                    continue
                self._map = _Slots(_ranges(slots, place))
                self._looked_at, self._answered = _now(), [place]
                return
            raise LostConnection(f"no node of the Cluster answers: {error}")


class _Slots:
    """Which node has which slot; slots without a node are holes."""

    def __init__(self, ranges: Sequence[tuple[int, int, Place]]) -> None:
        self._ranges = sorted(ranges)
        self._starts = [start for start, _, _ in self._ranges]
        # What a node answered since the map was made.
        self._moved: dict[int, Place] = {}

    def find(self, slot: int) -> Place | None:
        if slot in self._moved:
            return self._moved[slot]
        index = bisect_right(self._starts, slot) - 1
        if index < 0 or slot > self._ranges[index][1]:
            return None
        return self._ranges[index][2]

    def move(self, slot: int, place: Place) -> None:
        self._moved[slot] = place

    def places(self) -> list[Place]:
        """Every node that has a slot, once."""
        return list(dict.fromkeys(place for _, _, place in self._ranges))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _slot_of(command: Command) -> int:
    key = command[3] if command[0] in ("EVALSHA", "EVAL") else command[1]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def _pointed_to(error: Any, asked: Place) -> Place:
    """Where MOVED or ASK point to; without a host the one that was asked."""
    return str(error.host or asked[0]), int(error.port)


def _ranges(reply: Sequence[Any], asked: Place) -> list[tuple[int, int, Place]]:
    """What CLUSTER SLOTS answers; a node without an address is the one that was asked."""
    return [
        (int(start), int(end), (_text(master[0]) or asked[0], int(master[1])))
        for start, end, master, *_ in reply
    ]


def _text(host: bytes | str | None) -> str:
    return host.decode() if isinstance(host, bytes) else host or ""
