"""The asyncio client against real gateways."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from gateway.auth.token import mint_token
from gateway.client.client import AsyncClient
from gateway.client.errors import GatewayError
from gateway.client.job import ToolRun
from gateway.client.session import Session
from gateway.client.steps import StatusChanged
from gateway.client.stream import StateReset
from gateway.client.tool import string, tool
from protocol.events import Event, MessageDelta, RunCancelled, ToolCallCompleted, ToolCallProgress
from protocol.values import ErrorInfo
from tests.client.conftest import AGENTS, Join
from tests.conftest import StartGateway
from tests.support.processes import GatewayProcess, Valkey, free_port
from tests.support.waiting import eventually

SECRET = "0123456789abcdef" * 4
HEADING = tool("read_heading", "Reads a heading").param("level", string("1 to 6"))
CALL = {"call_tool": {"name": "read_heading", "arguments": {"level": "1"}}}
SAY_LAST = {"say": "It says {last}."}
COUNTED = "".join(f"<{number}>" for number in range(400))
SLOW = {"say": COUNTED, "chunk": 10, "interval_ms": 10}


def script(*steps: dict[str, Any]) -> str:
    return json.dumps(steps)


async def opened(client: AsyncClient, agent: str = "scripted", **options: Any) -> Session:
    return await client.session(agent=agent, **options)


async def test_a_conversation(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    assert client.status == "open"
    assert client.welcome is not None
    assert client.welcome.principal.subject == "dev"
    session = await opened(client, "echo", metadata={"title": "First"})
    events = session.events()
    sent = await session.send("Hello there")
    run = await session.finished(sent)
    assert run is not None
    assert run.status == "completed"
    assert session.text(run.id) == "Hello there"
    session.close()
    seen = [event async for event in events]
    said = "".join(event.delta for event in seen if isinstance(event, MessageDelta))
    assert said == "Hello there"
    rows = await client.list_sessions()
    assert [(row.session, row.metadata) for row in rows] == [(session.id, {"title": "First"})]


async def test_many_sessions_share_the_socket(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    sessions = [await opened(client, "echo") for _ in range(10)]
    sent = [await s.send(f"I am {number}") for number, s in enumerate(sessions)]
    async with asyncio.TaskGroup() as group:
        for session, message in zip(sessions, sent, strict=True):
            group.create_task(session.finished(message))
    said = [s.text(m.run or "") for s, m in zip(sessions, sent, strict=True)]
    assert said == [f"I am {number}" for number in range(10)]


async def test_an_existing_session_is_taken_up_with_its_state(
    served: GatewayProcess, join: Join
) -> None:
    first, second = await join(served), await join(served)
    session = await opened(first, "echo")
    await session.finished(await session.send("Hello"))
    again = await second.session(session.id)
    assert [m.role for m in again.state.messages] == ["user", "assistant"]
    assert again.state.seq == session.state.seq
    assert await second.session(session.id) is again
    sent = await again.send("And again")
    assert (await session.finished(sent)) == (await again.finished(sent))


async def test_what_is_refused_raises(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    await client.session("s_taken", agent="echo")
    with pytest.raises(GatewayError) as taken:
        await (await join(served)).session("s_taken", agent="scripted")
    assert taken.value.code == "session.exists"
    with pytest.raises(GatewayError) as missing:
        await client.session("s_missing")
    assert missing.value.code == "session.not_found"
    assert list(client.sessions) == ["s_taken"]
    with pytest.raises(GatewayError) as nothing:
        await client.session()
    assert nothing.value.code == "client.usage"
    session = await opened(client, "echo")
    with pytest.raises(TypeError):
        await session.update(metadata={"what": object()})
    with pytest.raises(GatewayError) as idle:
        await session.stop()
    assert idle.value.code == "run.not_active"


async def test_stop_ends_the_run(served: GatewayProcess, join: Join) -> None:
    session = await opened(await join(served))
    events = session.events()
    sent = await session.send(script({"say": "more " * 5_000, "interval_ms": 20}))
    await anext(event async for event in events if isinstance(event, MessageDelta))
    await session.stop(reason="enough")
    run = await session.finished(sent)
    assert run is not None
    assert run.status == "cancelled"
    end = await anext(event async for event in events if isinstance(event, RunCancelled))
    assert end.reason == "enough"


async def test_a_tool_runs_by_itself_and_reports(served: GatewayProcess, join: Join) -> None:
    def read(args: dict[str, Any], run: ToolRun) -> dict[str, Any]:
        run.progress(1, 2, text="half")
        return {"text": f"Heading {args['level']}"}

    session = await opened(await join(served), tools=[HEADING.handler(read).build()])
    events = session.events()
    sent = await session.send(script(CALL, SAY_LAST))
    await session.finished(sent)
    assert session.text(sent.run or "") == 'It says {"text":"Heading 1"}.'
    session.close()
    seen = [event async for event in events]
    assert sum(isinstance(event, ToolCallCompleted) for event in seen) == 1


async def test_progress_goes_out_while_the_tool_runs(served: GatewayProcess, join: Join) -> None:
    heard = asyncio.Event()

    async def read(_: dict[str, Any], run: ToolRun) -> str:
        run.progress(1, 2)
        await heard.wait()
        return "done"

    session = await opened(await join(served), tools=[HEADING.handler(read).build()])
    events = session.events()
    sent = await session.send(script(CALL, SAY_LAST))
    progress = await anext(event async for event in events if isinstance(event, ToolCallProgress))
    assert (progress.current, progress.total) == (1, 2)
    heard.set()
    await session.finished(sent)
    assert session.text(sent.run or "") == 'It says "done".'


async def test_a_tool_that_raises_is_told_to_the_agent(served: GatewayProcess, join: Join) -> None:
    def read(_: dict[str, Any]) -> str:
        raise LookupError("no such heading")

    session = await opened(await join(served), tools=[HEADING.handler(read).build()])
    sent = await session.send(script(CALL, SAY_LAST))
    await session.finished(sent)
    assert "tool.failed" in session.text(sent.run or "")
    assert "no such heading" in session.text(sent.run or "")


async def test_stopping_the_run_cancels_its_tool(served: GatewayProcess, join: Join) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def read(_: dict[str, Any]) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    session = await opened(await join(served), tools=[HEADING.handler(read).build()])
    await session.send(script(CALL))
    await began.wait()
    await session.stop()
    await cancelled.wait()


async def test_a_call_without_a_handler_is_answered_by_hand(
    served: GatewayProcess, join: Join
) -> None:
    session = await opened(await join(served), tools=[HEADING.build()])
    sent = await session.send(script(CALL, SAY_LAST, CALL))
    await session.wait_until(lambda _: bool(session.pending_tool_calls))
    (call,) = session.pending_tool_calls
    assert (call.name, call.arguments) == ("read_heading", {"level": "1"})
    await session.submit_tool_result(call.id, {"text": "Welcome"})
    await session.wait_until(
        lambda _: [c.id for c in session.pending_tool_calls] not in ([], [call.id])
    )
    (second,) = session.pending_tool_calls
    await session.submit_tool_result(second.id, error=ErrorInfo("app.gone", "No page."))
    await session.finished(sent)
    assert session.text(sent.run or "") == 'It says {"text":"Welcome"}.'
    assert session.state.calls[second.id].error == ErrorInfo("app.gone", "No page.")


@pytest.mark.parametrize("agree", [True, False])
async def test_a_person_is_asked(served: GatewayProcess, join: Join, agree: bool) -> None:
    asked = HEADING.handler(lambda args: f"level {args['level']}").require_approval().build()
    session = await opened(await join(served), tools=[asked])
    sent = await session.send(script(CALL, SAY_LAST))
    await session.wait_until(lambda _: bool(session.approvals))
    (approval,) = session.approvals
    assert approval.title == "read_heading"
    if agree:
        await session.approve(approval.id, arguments={"level": "2"})
    else:
        await session.deny(approval.id, reason="not now")
    await session.finished(sent)
    assert session.approvals == []
    said = session.text(sent.run or "")
    assert ("level 2" in said) if agree else ("tool.denied" in said)


async def test_two_clients_and_one_tool_execute_it_once(served: GatewayProcess, join: Join) -> None:
    executed: Counter[str] = Counter()

    def tool_of(name: str) -> Any:
        def read(_: dict[str, Any]) -> str:
            executed[name] += 1
            return name

        return HEADING.idempotent().handler(read).build()

    first, second = await join(served), await join(served)
    session = await opened(first, tools=[tool_of("first")])
    other = await second.session(session.id, tools=[tool_of("second")])
    sent = await session.send(script(CALL, CALL, CALL, SAY_LAST))
    await other.finished(sent)
    assert executed == {"first": 3}  # the one that asked


async def test_older_messages_update_and_delete(served: GatewayProcess, join: Join) -> None:
    client = await join(served)
    session = await opened(client, "echo", messages=100)
    for text in ("One", "Two"):
        await session.finished(await session.send(text))
    newest = session.state.messages[-1]
    older = await session.messages(before=newest.id, limit=2)
    assert [message.id for message in older] == [m.id for m in session.state.messages[1:3]]
    await session.update(metadata={"title": "Numbers"})
    await session.wait_until(lambda state: state.metadata == {"title": "Numbers"})
    events = session.events()
    await session.delete()
    with pytest.raises(GatewayError) as gone:
        await session.wait_until(lambda _: False)
    assert gone.value.code == "session.not_found"
    with pytest.raises(GatewayError):
        assert [event async for event in events] == []
    assert session.closed


async def test_nobody_there_is_told_in_time() -> None:
    with pytest.raises(GatewayError) as unreachable:
        await AsyncClient(f"http://127.0.0.1:{free_port()}").connect(timeout=0.3)
    assert unreachable.value.code == "client.unreachable"
    assert unreachable.value.retryable


async def test_tokens(gateway: StartGateway, join: Join) -> None:
    environment = {"AGENT_GATEWAY_AUTH_SECRET": SECRET}
    process = await gateway("--auth", "jwt", *AGENTS, environment=environment)
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        return mint_token(
            SECRET, subject="ada", ttl_s=62
        )  # `auth.expiring` comes 60 s before the end

    client = await join(process, token=token)
    assert client.welcome is not None
    assert client.welcome.principal.subject == "ada"
    await eventually(lambda: asked == 2, what="the token is renewed")
    session = await opened(client, "echo")
    await session.finished(await session.send("Still here"))
    with pytest.raises(GatewayError) as refused:
        await join(process, token="nonsense")
    assert refused.value.code == "auth.invalid"
    assert refused.value.kind == "not_signed_in"


def continuous(items: list[Event | StateReset]) -> str:
    """The text of the deltas, none of them in place of a state."""
    assert not any(isinstance(item, StateReset) for item in items)
    return "".join(item.delta for item in items if isinstance(item, MessageDelta))


async def replica_and_worker(gateway: StartGateway, valkey: Valkey) -> GatewayProcess:
    """A replica that may die; the runs are elsewhere."""
    await gateway("--broker", valkey.url, *AGENTS, command="worker")
    return await gateway("--broker", valkey.url, *AGENTS, "--no-runs")


@pytest.mark.parametrize("how", ["kill", "terminate"])
async def test_a_replica_goes_in_mid_answer_and_the_text_completes(
    gateway: StartGateway, valkey: Valkey, join: Join, how: str
) -> None:
    replica = await replica_and_worker(gateway, valkey)
    client = await join(replica)
    session = await opened(client)
    statuses: list[StatusChanged] = []
    client.on_status(statuses.append)
    events = session.events()
    sent = await session.send(script(SLOW))
    seen = [await anext(events)]
    while not any(isinstance(event, MessageDelta) for event in seen):
        seen.append(await anext(events))
    await (replica.kill() if how == "kill" else replica.terminate())
    lost = asyncio.create_task(session.stop("r_other"))  # noqa: TID251 - awaited below
    await replica.start()
    run = await session.finished(sent)
    assert run is not None
    assert run.status == "completed"
    with pytest.raises(GatewayError) as answered:  # asked while nobody was there
        await lost
    assert answered.value.code == "run.not_active"
    session.close()
    assert continuous(seen + [event async for event in events]) == COUNTED
    assert session.text(run.id) == COUNTED
    assert "resuming" in {status.status for status in statuses}
    assert client.status == "open"


async def test_a_replica_is_killed_while_a_tool_runs_and_it_counts_once(
    gateway: StartGateway, valkey: Valkey, join: Join
) -> None:
    executed = 0
    began, go_on = asyncio.Event(), asyncio.Event()

    async def read(_: dict[str, Any]) -> str:
        nonlocal executed
        executed += 1
        began.set()
        await go_on.wait()
        return "late"

    replica = await replica_and_worker(gateway, valkey)
    session = await opened(await join(replica), tools=[HEADING.handler(read).build()])
    sent = await session.send(script(CALL, SAY_LAST))
    await began.wait()
    await replica.kill()
    go_on.set()  # the result has nowhere to go yet
    await replica.start()
    await session.finished(sent)
    assert session.text(sent.run or "") == 'It says "late".'
    assert executed == 1


async def test_a_session_that_was_lost_is_told(
    gateway: StartGateway, tmp_path_factory: pytest.TempPathFactory, join: Join
) -> None:
    valkey = Valkey(tmp_path_factory.mktemp("lost"))
    await valkey.start()
    try:
        replica = await gateway("--broker", valkey.url, *AGENTS)
        session = await opened(await join(replica), "echo")
        await session.finished(await session.send("Remember me"))
        await replica.kill()
        await valkey.flush()
        await replica.start()
        with pytest.raises(GatewayError) as gone:
            await session.wait_until(lambda _: False)
        assert gone.value.code == "session.not_found"
    finally:
        await valkey.kill()


async def test_closing_ends_everything(served: GatewayProcess) -> None:
    client = AsyncClient(served.url)
    await client.connect()
    session = await opened(client)
    events = session.events()
    await session.send(script(SLOW))
    await client.close()
    assert session.closed
    assert all(isinstance(event, Event) for event in [event async for event in events])
    with pytest.raises(GatewayError) as closed:
        await session.send("Anybody?")
    assert closed.value.code == "client.closed"
    await client.connect()  # and it can be opened again
    assert client.status == "open"
    await client.close()
