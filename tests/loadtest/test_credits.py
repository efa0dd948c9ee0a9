"""The desk and a publisher, over a real socket."""

import select
import socket
from collections.abc import Iterator

import pytest

from loadtest.credits import RECORD, STOP, Desk, Lag, Slot, line
from loadtest.histogram import Histogram


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


def publisher(desk: Desk, *slots: int) -> tuple[socket.socket, int]:
    sock = socket.create_connection(("127.0.0.1", desk.port), timeout=5)
    descriptor = desk.accept()
    sock.sendall(b"".join(line(Slot(slot)) for slot in slots))
    while len([s for s in desk.slots if s in slots]) < len(slots):
        select.select([descriptor], [], [], 5)
        assert desk.read(descriptor)
    return sock, descriptor


def records(sock: socket.socket, count: int) -> list[tuple[int, int]]:
    data = b""
    while len(data) < count * RECORD.size:
        data += sock.recv(65_536)
    return list(RECORD.iter_unpack(data))


def test_credits_go_to_who_publishes_for_the_slot(desk: Desk) -> None:
    first, _ = publisher(desk, 1, 2)
    second, _ = publisher(desk, 3)
    with first, second:
        desk.give([1, 3, 2, 1, 99])

        assert records(first, 3) == [(1, 0), (2, 0), (1, 0)]
        assert records(second, 1) == [(3, 0)]

        desk.give_at([(3, 17), (1, 2**40)])

        assert records(first, 1) == [(1, 2**40)]
        assert records(second, 1) == [(3, 17)]


def test_at_the_end_publishers_tell_their_lag(desk: Desk) -> None:
    histogram = Histogram()
    histogram.record(1_500, 3)
    first, a = publisher(desk, 1)
    second, b = publisher(desk, 2)
    desk.stop()
    for sock, descriptor in ((first, a), (second, b)):
        assert records(sock, 1) == [(STOP, 0)]
        sock.sendall(line(Lag(histogram.latency())))
        sock.close()
        while desk.read(descriptor):
            pass

    assert desk.publishers == 0
    assert desk.slots == {}
    found = desk.lag.latency()
    assert found is not None
    assert (found.count, found.max_us) == (6, 1_500)


def test_a_line_may_come_in_pieces(desk: Desk) -> None:
    sock, descriptor = publisher(desk)
    with sock:
        for piece in (b'{"sl', b'ot":4', b"2}\n"):
            sock.sendall(piece)
            select.select([descriptor], [], [], 5)
            assert desk.read(descriptor)

        assert set(desk.slots) == {42}
