"""The agent that makes the load, for `--agents loadtest.agent:load`.

It does what its run's input says: publish an event per credit (`loadtest.credits`), write a token
per credit, or call a tool of the page again and again. All runs of one process share a connection
to each desk. Only a port of this machine's loopback is ever connected to.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Annotated, cast

import msgspec
from msgspec import Meta

from gateway.runtime.context import RunContext
from gateway.runtime.failures import ToolError
from gateway.runtime.gate import Preamble
from gateway.runtime.tools import ServerTool
from gateway.sessions.inputs import Resume
from loadtest.credits import RECORD, STOP, Lag, Slot, Verb, line
from loadtest.histogram import Histogram
from loadtest.result import Latency
from loadtest.stamps import now_us, stamp

TOOL = "load"
AROUND = 130
"""Bytes of a `custom` frame without its value."""


class Order(msgspec.Struct, frozen=True):
    """A run's input. With several `ports` an event is published when each has given a credit."""

    verb: Verb
    slot: int
    ports: Annotated[tuple[int, ...], Meta(min_length=1, max_length=64)]
    event_bytes: Annotated[int, Meta(ge=0, le=65_536)] = 200
    message_tokens: Annotated[int, Meta(ge=1)] = 500
    per_s: Annotated[float, Meta(ge=0)] = 0.0
    """The first credit begins a schedule of the run's own, of so many tokens a second."""


class Feed:
    """The credits of one run. What it costs is the agent's own part of an event: little."""

    __slots__ = ("_given", "_passed", "_waiting", "ended", "times")

    def __init__(self, desks: int) -> None:
        self.times: deque[int] = deque()
        """Intended times of events that may be published now, 0: whenever that is."""
        self.ended = False
        self._given = [0] * desks
        self._passed = 0
        self._waiting: asyncio.Future[None] | None = None

    def give(self, desk: int, at_us: int) -> None:
        """One credit of one desk; an event may be published when each desk has given one."""
        given = self._given
        given[desk] += 1
        if len(given) == 1 or min(given) > self._passed:
            self._passed += 1
            self.times.append(at_us)
            self.wake()

    def end(self) -> None:
        """There will be no more."""
        self.ended = True
        self.wake()

    async def more(self) -> bool:
        """Waits until there is something in `times`; False: there will be nothing more."""
        while not self.times:
            if self.ended:
                return False
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return True

    def wake(self) -> None:
        """There is something in `times`, or the end has come."""
        waiting = self._waiting
        if waiting is not None and not waiting.done():
            waiting.set_result(None)


class Schedule:
    """The times of one run, each as the one before and the interval say, however late it is.

    It is a `Feed` of one credit to those who take from it, and costs what a model's stream costs:
    one wait per token, as all runs of a worker wait.
    """

    __slots__ = ("_feed", "_interval_us", "_next_us", "_run", "times")

    def __init__(self, run: RunContext, feed: Feed, per_s: float) -> None:
        self.times: deque[int] = deque()
        self._run = run
        self._feed = feed
        self._interval_us = 1e6 / per_s
        self._next_us = 0.0

    async def more(self) -> bool:
        """Waits until the next token is due; False: there will be nothing more."""
        if not self._next_us:
            if not await self._feed.more():
                return False
            self._next_us = float(self._feed.times.popleft() or now_us())
        await self._run.pace(self._next_us / 1e6)
        if self._feed.ended:
            return False
        self.times.append(int(self._next_us))
        self._next_us += self._interval_us
        return True


class Line(asyncio.Protocol):
    """The connection of one process to one desk."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._rest = b""
        self._feeds: dict[int, tuple[Feed, int]] = {}  # slot -> its feed, and which desk we are
        self._transport: asyncio.Transport | None = None
        self.lags: Counter[int] = Counter()  # µs behind the intended time -> tokens

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        whole = len(data) - len(data) % RECORD.size
        self._rest = data[whole:]
        for slot, at_us in RECORD.iter_unpack(data[:whole]):
            if slot == STOP:
                self._say(line(Lag(self._lag())))
                self.hang_up()
                return
            if (found := self._feeds.get(slot)) is not None:
                found[0].give(found[1], at_us)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()
        for feed, _ in self._feeds.values():
            feed.end()

    def enter(self, slot: int, feed: Feed, desk: int) -> None:
        """`feed` gets the credits of the slot from now on."""
        self._feeds[slot] = (feed, desk)
        self._say(line(Slot(slot)))

    def leave(self, slot: int) -> None:
        """Nobody publishes for the slot any more."""
        self._feeds.pop(slot, None)

    def hang_up(self) -> None:
        """What was said is sent first."""
        if self._transport is not None:
            self._transport.close()

    def _lag(self) -> Latency | None:
        histogram = Histogram()
        for us, count in self.lags.items():
            histogram.record(us, count)
        return histogram.latency()

    def _say(self, text: bytes) -> None:
        assert self._transport is not None, "it is connected"
        self._transport.write(text)


class Lines:
    """The connections of one process, one to each desk."""

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}  # port -> the connection to that desk
        self._connecting = asyncio.Lock()

    async def to(self, port: int) -> Line:
        """The connection to the desk at a port of this machine."""
        async with self._connecting:  # runs begin together, and share one
            if port not in self._lines:

                def lost() -> None:
                    self._lines.pop(port, None)

                _, made = await asyncio.get_running_loop().create_connection(
                    lambda: Line(lost), "127.0.0.1", port
                )
                self._lines[port] = made
            return self._lines[port]


class LoadAgent:
    """Publishes by credits."""

    name = "load"
    resume: Resume = "none"
    tools: tuple[ServerTool, ...] = ()
    preamble: Preamble = "show"

    def __init__(self) -> None:
        self._lines = Lines()

    async def __call__(self, run: RunContext) -> None:
        """Until the desk has hung up."""
        order = msgspec.convert(run.input, Order)
        feed = Feed(len(order.ports))
        lines = [await self._lines.to(port) for port in order.ports]
        for i, desk in enumerate(lines):
            desk.enter(order.slot, feed, i)
        try:
            match order.verb:
                case "emit":
                    await self._emit(run, feed, order.event_bytes)
                case "write":
                    times = Schedule(run, feed, order.per_s) if order.per_s else feed
                    await self._write(run, times, order.message_tokens, lines[0].lags)
                case "call":
                    await self._call(run, feed)
        finally:
            for desk in lines:
                desk.leave(order.slot)

    async def _emit(self, run: RunContext, feed: Feed, event_bytes: int) -> None:
        padding = "x" * (event_bytes - AROUND)
        times = feed.times
        while times or await feed.more():
            await run.emit("load", stamp(times.popleft() or now_us()) + padding)

    async def _write(
        self, run: RunContext, feed: "Feed | Schedule", tokens: int, lags: Counter[int]
    ) -> None:
        times = feed.times
        while times or await feed.more():
            async with run.message() as message:
                for _ in range(tokens):
                    if not times and not await feed.more():
                        return
                    at_us = times.popleft()
                    now = now_us()
                    if at_us:
                        lags[max(0, now - at_us)] += 1
                    # The schedule of a run may be early; what comes early is not late for that.
                    await message.write(stamp(min(at_us, now) or now))

    async def _call(self, run: RunContext, feed: Feed) -> None:
        while not feed.ended:
            try:
                await run.call_tool(TOOL, n=1)
            except ToolError:
                return  # the page has gone


load = LoadAgent()
