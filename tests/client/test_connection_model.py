"""Random lives of a client against a model of gateway and network: nothing lost, nothing twice."""

from collections.abc import Callable
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.modelled import Merging, Socket, World

LENGTH = 80


class Life:
    """One page; every method is something that may happen next, `one` and `two` say where."""

    def __init__(self) -> None:
        self.merging = Merging()
        self.world = World(self.merging)

    def session(self, one: int) -> str:
        return f"s_{one % 2 + 1}"

    def socket(self, one: int) -> Socket | None:
        """The newest one most of the time."""
        numbers = sorted(self.world.sockets, reverse=True)
        return self.world.sockets[numbers[one // 3 % len(numbers)]] if numbers else None

    def log_grows(self, one: int, two: int) -> None:
        for _ in range(two % 4 + 1):
            self.world.logs[self.session(one)].append(visible=two % 3 > 0)

    def log_is_lost(self, one: int, two: int) -> None:
        self.world.logs[self.session(one)].lose(two % 4)

    def log_is_trimmed(self, one: int, _: int) -> None:
        log = self.world.logs[self.session(one)]
        log.base = log.seq

    def page_subscribes(self, one: int, two: int) -> None:
        self.world.subscribe(self.session(one), full=two % 3 > 0)

    def page_unsubscribes(self, one: int, _: int) -> None:
        self.world.unsubscribe(self.session(one))

    def page_sends(self, one: int, _: int) -> None:
        self.world.command(self.session(one))

    def socket_opens(self, _: int, __: int) -> None:
        self.world.connect(succeeds=True)

    def socket_does_not_open(self, _: int, __: int) -> None:
        self.world.connect(succeeds=False)

    def socket_is_cut(self, one: int, _: int) -> None:
        if (socket := self.socket(one)) is not None:
            self.world.cut(socket.number)

    def gateway_hears(self, one: int, _: int) -> None:
        if (socket := self.socket(one)) is not None:
            self.world.hear(socket.number)

    def gateway_sends_news(self, one: int, two: int) -> None:
        self.merging.count = two % 4 + 1
        if (socket := self.socket(one)) is not None:
            self.world.pump(socket.number)

    def news_arrives(self, one: int, two: int) -> None:
        if (socket := self.socket(one)) is not None:
            self.world.deliver(socket.number, two + 1)

    def event_comes_twice(self, one: int, two: int) -> None:
        if (socket := self.socket(one)) is None:
            return
        events = [index for index, frame in enumerate(socket.down) if "time" in frame]
        if events:
            index = events[two % len(events)]
            socket.down.insert(index, socket.down[index])

    def events_come_again_merged(self, one: int, two: int) -> None:
        """With one that the page may have: what follows a place that it has left."""
        if (socket := self.socket(one)) is None:
            return
        log = self.world.logs[self.session(two)]
        epoch, cursor, full = socket.cursors.get(log.session, ("", 0, False))
        if full and epoch == log.epoch and cursor > log.base + 1:
            socket.down.append(log.event(cursor - 1, cursor, full))

    def event_is_lost(self, one: int, two: int) -> None:
        """Where that can be seen: detail `full` is dense, so what follows tells."""
        if (socket := self.socket(one)) is None:
            return
        full = {session for session, (_, _, dense) in socket.cursors.items() if dense}
        events = [
            index
            for index, frame in enumerate(socket.down)
            if "time" in frame
            and frame["session"] in full
            and any(f.get("session") == frame["session"] for f in socket.down[index + 1 :])
        ]
        if events:
            del socket.down[events[two % len(events)]]

    def gateway_drains(self, one: int, two: int) -> None:
        socket = self.socket(one)
        if socket is not None and socket.ended is None and not socket.draining:
            socket.draining = True
            goaway = {"type": "goaway", "reason": "drain", "reconnect_after_ms": two * 50}
            socket.down.append(goaway)

    def time_passes(self, _: int, __: int) -> None:
        self.world.tick()


Act: TypeAlias = Callable[[Life, int, int], None]
WEIGHTS: dict[Act, int] = {
    Life.log_grows: 6,
    Life.log_is_lost: 1,
    Life.log_is_trimmed: 1,
    Life.page_subscribes: 4,
    Life.page_unsubscribes: 1,
    Life.page_sends: 3,
    Life.socket_opens: 5,
    Life.socket_does_not_open: 1,
    Life.socket_is_cut: 1,
    Life.gateway_hears: 8,
    Life.gateway_sends_news: 7,
    Life.news_arrives: 12,
    Life.event_comes_twice: 1,
    Life.events_come_again_merged: 1,
    Life.event_is_lost: 1,
    Life.gateway_drains: 2,
    Life.time_passes: 4,
}
ACTS = [act for act, weight in WEIGHTS.items() for _ in range(weight)]
SMALL = st.integers(0, 11)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(ACTS), SMALL, SMALL), min_size=LENGTH))
def test_nothing_is_lost_and_nothing_comes_twice(acts: list[tuple[Act, int, int]]) -> None:
    life = Life()
    life.world.settle()
    for act, one, two in acts:
        act(life, one, two)
    life.world.settle()
    life.world.check()
