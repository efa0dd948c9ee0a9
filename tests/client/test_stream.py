"""The events of a session as they are read."""

import asyncio

import pytest

from gateway.client import stream as streams
from gateway.client.errors import GatewayError
from gateway.client.stream import EventStream, StateReset
from protocol.events import RunStarted
from protocol.state import State

TIME = "2026-01-01T00:00:00.000Z"


def event(number: int) -> RunStarted:
    return RunStarted(time=TIME, run=f"r_{number}")


async def test_events_are_read_in_order_and_waited_for() -> None:
    stream, state = EventStream(), State(session="s_1")
    stream.put(event(1), state)
    reading = asyncio.create_task(_two(stream))  # noqa: TID251 - awaited below
    await asyncio.sleep(0)
    stream.put(event(2), state)
    assert await reading == [event(1), event(2)]


async def _two(stream: EventStream) -> list[object]:
    return [await anext(stream), await anext(stream)]


async def test_a_slow_reader_gets_the_state_in_place_of_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "MAX_BUFFERED", 3)
    stream, state = EventStream(), State(session="s_1")
    for number in range(6):
        state.seq = number
        stream.put(event(number), state)
    assert stream.backlog == 1
    got = await anext(stream)
    assert isinstance(got, StateReset)
    assert got.state.seq == 5
    assert got.state is not state, "what is read does not change any more"
    stream.put(event(7), state)
    assert await anext(stream) == event(7)


async def test_what_is_buffered_comes_before_the_end() -> None:
    stream = EventStream()
    stream.put(event(1), State(session="s_1"))
    stream.end()
    assert [item async for item in stream] == [event(1)]


async def test_an_end_with_an_error_raises_it() -> None:
    stream = EventStream()
    stream.end(GatewayError("session.not_found", "Gone."))
    for _ in range(2):
        with pytest.raises(GatewayError, match=r"Gone\."):
            await anext(stream)
