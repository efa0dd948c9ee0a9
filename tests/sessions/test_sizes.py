"""How large what clients put into a session may become."""

from typing import Any

import pytest

from gateway.auth import Grant
from gateway.broker.memory import MemoryBroker
from gateway.sessions.draft import Origin, Rules
from gateway.sessions.sizes import Sizes
from gateway.sessions.store import Store
from protocol import commands as cmd
from protocol.errors import ProtocolError
from protocol.values import Principal, Tool
from tests.sessions.bench import Bench

SMALL = Sizes(queued_runs=2, metadata_bytes=40, tools_bytes=100, log_bytes=1_000)
ME = Origin(Grant(Principal("local", "dev"), "full"), "tab")


async def opened() -> Store:
    store = Store(MemoryBroker(), rules=Rules(sizes=SMALL))
    await store.submit(cmd.SessionCreate(id="k", agent="a", session="s_1", metadata={"a": 1}), ME)
    return store


def tools(size: int) -> list[Tool]:
    return [Tool("read", {"type": "object"}, description="x" * size)]


async def refused(store: Store, command: cmd.DecidedCommand) -> tuple[str, Any]:
    before = await store.broker.heads(["s_1"])
    with pytest.raises(ProtocolError) as caught:
        await store.submit(command, ME)
    assert await store.broker.heads(["s_1"]) == before
    return caught.value.code, (caught.value.details or {}).get("path")


async def test_metadata_and_tools() -> None:
    store = await opened()
    full = "limit.exceeded"
    wide = {"b": "x" * 25}
    create = cmd.SessionCreate(id="k_1", agent="a", metadata={"b": "x" * 40})
    assert await refused(store, create) == (full, "$.metadata")
    create = cmd.SessionCreate(id="k_1", agent="a", tools=tools(100))
    assert await refused(store, create) == (full, "$.tools")
    await store.submit(cmd.SessionUpdate(id="k_2", session="s_1", metadata=wide), ME)
    more = cmd.SessionUpdate(id="k_3", session="s_1", metadata={"c": "y" * 10})
    assert await refused(store, more) == (full, "$.metadata")  # merged it is too much
    less = cmd.SessionUpdate(id="k_4", session="s_1", metadata={"b": None, "c": "y" * 10})
    await store.submit(less, ME)
    update = cmd.SessionUpdate(id="k_5", session="s_1", tools=tools(100))
    assert await refused(store, update) == (full, "$.tools")
    await store.submit(cmd.SessionUpdate(id="k_6", session="s_1", tools=tools(1)), ME)


async def test_what_a_session_ever_held() -> None:
    store = await opened()
    sent = 0
    while (await store.broker.load("s_1")).log_bytes < 1_000:
        sent += 1
        content = cmd.MessageSend(id=f"k_{sent}", session="s_1", content="x" * 100, start=False)
        await store.submit(content, ME)
    assert 3 < sent < 10
    for command in (
        cmd.MessageSend(id="k_a", session="s_1", content="x"),
        cmd.RunStart(id="k_b", session="s_1"),
        cmd.SessionUpdate(id="k_c", session="s_1", metadata={"a": 2}),
    ):
        assert (await refused(store, command))[0] == "limit.exceeded"
    await store.submit(cmd.SessionDelete(id="k_d", session="s_1"), ME)


def test_runs_that_wait() -> None:
    bench = Bench(rules=Rules(sizes=SMALL))
    bench.running()
    for _ in range(2):
        bench.send(if_busy="enqueue")
    assert bench.send_refused(if_busy="enqueue") == "limit.exceeded"
    bench.complete()
    bench.claim_run()
    bench.send(if_busy="enqueue")
