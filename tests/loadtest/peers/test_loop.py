"""The closed loop over real sockets."""

import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from loadtest.peers.loop import Loop, Stalled
from loadtest.peers.swarm import Swarm
from tests.loadtest.peers.broadcaster import Broadcaster


@contextmanager
def looping(
    *, rooms: int, sockets: int, drops: Callable[[int], bool] = lambda _: False
) -> Generator[Loop]:
    mine, its = socket.socketpair()
    server = Broadcaster(its, sockets=sockets, in_turn=rooms > 1, drops=drops)
    with its, Swarm(server.port) as swarm:
        for _ in range(sockets):
            swarm.connect("/", engine=False)
        with mine:
            yield Loop(swarm, mine.fileno(), rooms=rooms, sockets=sockets)
        server.join()


@pytest.mark.parametrize("outstanding", [1, 16])
def test_a_broadcast_goes_on_and_loses_nothing(outstanding: int) -> None:
    with looping(rooms=1, sockets=5) as loop:
        loop.settle()
        loop.start(outstanding)
        loop.run(1.0)
        assert loop.published > outstanding
        assert 0 <= loop.expected - loop.events <= outstanding * 5
        assert loop.drain() == 0


def test_each_of_many_rooms_has_one_receiver() -> None:
    with looping(rooms=4, sockets=2) as loop:
        loop.settle()
        loop.start(16)
        loop.run(1.0)
        assert loop.published - loop.events <= 16
        assert loop.drain() == 0
        assert loop.events == loop.published


def test_lost_messages_end_it() -> None:
    with looping(rooms=1, sockets=2, drops=lambda number: number >= 3) as loop:
        loop.settle()
        loop.start(1)
        with pytest.raises(Stalled, match="2 have not arrived"):
            loop.run(20.0, patience_s=2.0)


def test_one_lost_message_is_missing_in_the_end() -> None:
    with looping(rooms=1, sockets=2, drops=lambda number: number == 4) as loop:
        loop.settle()
        loop.start(3)
        loop.run(1.0)
        assert loop.drain(patience_s=2.0) == 2
