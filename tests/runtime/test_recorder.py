"""The buffer between agent and log: merging, when what is due, bounds, the end."""

import asyncio
from math import inf

import pytest

from gateway.runtime.failures import NotJsonError
from gateway.runtime.recorder import Recorder
from gateway.sessions import inputs
from protocol import events as ev
from protocol.values import ErrorInfo
from tests.runtime.stage import ManualClock

NOW = "2026-01-01T00:00:00.000Z"


class Bell:
    """Counts how often it was rung."""

    def __init__(self) -> None:
        self.rung = 0

    def __call__(self) -> None:
        self.rung += 1


def log_line(text: str) -> ev.StreamEvent:
    return ev.RunLog(time="", run="r_1", level="info", text=text)


def deltas(events: list[ev.StreamEvent]) -> list[tuple[int, str]]:
    return [(e.part, e.delta) for e in events if isinstance(e, ev.MessageDelta)]


async def test_the_first_delta_is_due_at_once_and_later_ones_wait() -> None:
    clock, bell = ManualClock(100.0), Bell()
    recorder = Recorder(bell, coalesce_s=0.02, clock=clock)
    assert recorder.due == inf
    recorder.delta("m_1", 0, "text", "a", first=True)
    assert (recorder.due, bell.rung) == (-inf, 1)
    recorder.take(NOW)
    assert recorder.due == inf
    recorder.delta("m_1", 0, "text", "b")
    assert 100.01499 < recorder.due <= 100.02, "a time that other runs share"
    assert bell.rung == 2
    clock.advance(0.01)
    recorder.delta("m_1", 0, "text", "c")
    assert 100.01499 < recorder.due <= 100.02, "a time that other runs share"
    assert bell.rung == 2
    assert deltas(recorder.take(NOW).stream) == [(0, "bc")]


async def test_only_neighbours_of_one_part_are_merged() -> None:
    recorder = Recorder(Bell())
    recorder.delta("m_1", 0, "thinking", "a")
    recorder.delta("m_1", 0, "thinking", "b")
    recorder.delta("m_1", 1, "text", "c")
    recorder.fact(log_line("x"))
    recorder.delta("m_1", 1, "text", "d")
    recorder.delta("c_1", 0, None, "{")
    recorder.delta("c_1", 0, None, "}")
    assert recorder.take(NOW).stream == [
        ev.MessageDelta(time=NOW, message="m_1", part=0, kind="thinking", delta="ab"),
        ev.MessageDelta(time=NOW, message="m_1", part=1, kind="text", delta="c"),
        ev.RunLog(time=NOW, run="r_1", level="info", text="x"),
        ev.MessageDelta(time=NOW, message="m_1", part=1, kind="text", delta="d"),
        ev.ToolCallDelta(time=NOW, call="c_1", delta="{}"),
    ]


async def test_a_step_takes_what_was_said_before_it_and_leaves_the_rest() -> None:
    recorder = Recorder(Bell())
    async with asyncio.TaskGroup() as group:
        recorder.delta("m_1", 0, "text", "before")
        first = group.create_task(recorder.step(inputs.StartMessage(message="m_1")))
        await asyncio.sleep(0)
        recorder.delta("m_1", 0, "text", "after")
        batch = recorder.take(NOW)
        assert deltas(batch.stream) == [(0, "before")]
        assert batch.wish is not None
        assert isinstance(batch.wish.step, inputs.StartMessage)
        assert recorder.due == -inf  # the next batch may go at once
        assert deltas(recorder.take(NOW).stream) == [(0, "after")]
        first.cancel()


async def test_huge_deltas_are_split_and_surrogates_replaced() -> None:
    recorder = Recorder(Bell())
    recorder.delta("m_1", 0, "text", "x" * 100_000 + "\ud83d")
    recorder.delta("m_1", 0, "text", "\ude00\udfff")
    cut = deltas(recorder.take(NOW).stream)
    assert "".join(text for _, text in cut) == "x" * 100_000 + "😀\ufffd"
    assert all(len(text.encode()) <= 16 * 1024 for _, text in cut)


@pytest.mark.parametrize("size", [1, 50_000])
async def test_a_full_buffer_lets_the_agent_wait(size: int) -> None:
    recorder = Recorder(Bell(), max_pieces=10, max_characters=100_000)
    for _ in range(10):
        if not recorder.full:
            recorder.delta("m_1", 0, "text", "x" * size)
    assert recorder.full
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(recorder.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        recorder.take(NOW)
    assert not recorder.full


async def test_closed_it_takes_nothing_and_cancels_who_waits() -> None:
    recorder = Recorder(Bell(), max_pieces=1)
    async with asyncio.TaskGroup() as group:
        step = group.create_task(recorder.step(inputs.StartMessage(message="m_1")))
        recorder.delta("m_1", 0, "text", "x")
        room = group.create_task(recorder.room())
        await asyncio.sleep(0)
        recorder.close()
    assert step.cancelled()
    assert room.cancelled()
    with pytest.raises(asyncio.CancelledError):
        recorder.delta("m_1", 0, "text", "x")
    with pytest.raises(asyncio.CancelledError):
        recorder.fact(log_line("x"))
    with pytest.raises(asyncio.CancelledError):
        await recorder.step(inputs.StartMessage(message="m_1"))
    assert recorder.take(NOW).stream == []


async def test_what_could_not_be_read_again_is_refused() -> None:
    recorder = Recorder(Bell())
    with pytest.raises(NotJsonError, match=r"RunOutput\.output is nan"):
        recorder.fact(ev.RunOutput(time="", run="r_1", output=float("nan")))
    with pytest.raises(NotJsonError, match="RunProgress cannot be stored"):
        recorder.fact(ev.RunProgress(time="", run="r_1", current=2**60))
    broken = inputs.FailRun(error=ErrorInfo("x" * 65, "too long a code"))
    with pytest.raises(NotJsonError, match="FailRun cannot be stored"):
        await recorder.step(broken)
    recorder.fact(log_line("half \ud83d"))
    assert recorder.take(NOW).stream == [
        ev.RunLog(time=NOW, run="r_1", level="info", text="half \ufffd")
    ]
