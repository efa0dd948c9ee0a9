"""Any frames, good and bad, in any order, on a real connection: it lives, or says why it does not.

Frames are drawn from the protocol's own union, so a new type is drawn as well; ids come from a
small pool, so that commands meet sessions, runs and calls that are there.
"""

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.settings import Settings
from protocol.codes import CLOSES, ERRORS
from tests.fuzz.conftest import Budget, Tried
from tests.support.inprocess import InProcess, connected, in_process
from tests.support.values import UP, builtins, json_values, of, paths, replaced
from tests.support.waiting import eventually

POOLS = {
    "session": st.sampled_from(["s_1", "s_2", "s_3"]),
    "agent": st.sampled_from(["scripted", "nobody"]),
    "id": st.sampled_from(["k_1", "k_2", "k_3", "k_4"]),
    "run": st.sampled_from([None, "r_1"]),
    "after": st.sampled_from([None, "m_1"]),
}
good = st.one_of([of(struct, POOLS) for struct in UP]).map(builtins)
ODD = json_values | st.sampled_from([10**30, "<b>\n", "\x00", "*", [[[]]], "a" * 2_000])


@st.composite
def bad(draw: st.DrawFn) -> Any:
    """A good frame with something else at one place."""
    frame = draw(good)
    return replaced(frame, draw(st.sampled_from(paths(frame))), draw(ODD))


lines = st.one_of(good, good, good, bad()).map(json.dumps) | st.text(max_size=20)
messages = st.lists(lines, min_size=1, max_size=3).map("\n".join) | st.binary(max_size=8)


def test_every_frame_is_drawn_from_the_union() -> None:
    assert len(UP) == len({struct.__struct_config__.tag for struct in UP}) > 15


async def talk(inside: InProcess, said: list[str | bytes]) -> None:
    async with connected(inside) as peer:
        for message in said:
            peer.say(message)
        peer.say({"type": "session.list", "id": "k_last"})

        def over() -> Any:
            return peer.closed is not None or peer.find("ok", id="k_last")

        await eventually(over, what="an answer or the end")
        if peer.closed is not None:
            assert peer.closed in CLOSES
        for frame in peer.frames:
            if frame["type"] == "error":
                assert frame["code"] in ERRORS
                assert frame["code"] != "internal", frame


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Whose records hold no error at the end of each talk."""
    caplog.set_level(logging.INFO)
    return caplog


def test_any_frames_in_any_order(
    budget: Budget, tried: Tried, quiet: pytest.LogCaptureFixture
) -> None:
    count = 0

    @settings(max_examples=int(10 * budget.seconds), database=None)
    @given(st.lists(messages, min_size=1, max_size=12))
    def any_frames(said: list[str | bytes]) -> None:
        nonlocal count
        count += len(said)

        async def one() -> None:
            # Nobody is refused for being quick: that is another test's matter.
            loose = Settings(frames_per_s=100_000, frames_burst=100_000)
            async with in_process(settings=loose) as inside:
                await talk(inside, said)

        quiet.clear()
        asyncio.run(one())
        assert [r for r in quiet.records if r.levelno >= logging.ERROR] == []

    any_frames()
    tried(count)
