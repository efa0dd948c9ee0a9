"""Faults, N9 and R8: cursors that the log no longer reaches get the state, no partial replay."""

from typing import Any

import pytest

from gateway.broker.open import open_broker
from gateway.settings import Settings
from tests.broker.redis.constellations import Ring
from tests.support.composed import composed
from tests.support.processes import KeyValueServer
from tests.support.wire import Frame, Tab

LIMITS: dict[str, dict[str, Any]] = {
    "events": {"keep_events": 20},
    "age": {"keep_ms": 1},
    "bytes": {"keep_bytes": 1_024},
}
LONG = {"repeat": 30, "steps": [{"say": "x" * 50}, {"log": "between"}]}


async def run(tab: Tab, session: str) -> None:
    ok = await tab.script(session, LONG)
    await tab.run_end(session, ok["run"])


@pytest.mark.parametrize("limit", ["events", "age", "bytes"])
async def test_n9_r8_trimmed_cursor(server: KeyValueServer | Ring | None, limit: str) -> None:
    settings = Settings(drain_ms=1_000, agents=("scripted",), **LIMITS[limit])
    broker = open_broker("memory://" if server is None else server.url)
    # Another replica: a feed that reaches further back than the log would serve the cursor.
    other = broker if server is None else open_broker(server.url)
    async with (
        composed(settings, broker=broker) as (_, place),
        composed(settings, broker=other) as (_, elsewhere),
        Tab(f"ws://{place}/v1/ws") as tab,
    ):
        session = await tab.create()
        await tab.subscribe(session, detail="full")
        left = tab.position(session)
        for _ in range(3):
            await run(tab, session)
        # Connected while the log was trimmed below it: unaffected.
        head = tab.position(session)["after"]
        assert len(tab.find("subscribed")) == 1
        assert tab.assert_dense(session)[-1]["seq"] == head

        async with Tab(f"ws://{elsewhere}/v1/ws") as late:
            subscribed = await late.subscribe(session, detail="full", **cursor(left))
            assert subscribed["recovered"] is False
            assert subscribed["state"]["seq"] == subscribed["seq"] == head
            assert len(subscribed["state"]["messages"]) > 3
            await run(tab, session)
            await late.wait_for("run.completed", seq=tab.position(session)["after"])
            events = late.assert_dense(session)
            assert events[0].get("from_seq", events[0]["seq"]) == head + 1

        async with Tab(f"ws://{elsewhere}/v1/ws") as quick:
            subscribed = await quick.subscribe(
                session, detail="full", **cursor(tab.position(session))
            )
            assert subscribed["recovered"] is True


def cursor(position: Frame) -> Frame:
    return {"after": position["after"], "epoch": position["epoch"]}
