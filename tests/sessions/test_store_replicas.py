"""Two replicas on one broker: one effect, one winner, one truth."""

import asyncio
import random
from typing import get_args

from gateway.errors import Fenced
from gateway.sessions import inputs
from gateway.sessions.draft import RuleBrokenError
from gateway.sessions.store import Store
from protocol import commands as cmd
from protocol import events as ev
from protocol.errors import ProtocolError
from protocol.frames import Ok
from protocol.values import IfBusy
from tests.sessions.bench import DEV, origin
from tests.sessions.conftest import Replicas
from tests.sessions.history import History
from tests.sessions.replicas import (
    ASK,
    QUICK,
    SLOW,
    assert_true,
    attempt,
    calling,
    command_id,
    created,
    delta,
    log,
    send,
    types,
    update,
)
from tests.support.waiting import eventually


async def outcome(store: Store, command: cmd.DecidedCommand, client: str = "tab_A") -> Ok | str:
    """The answer, or the code of the refusal."""
    try:
        return await store.submit(command, origin(client))
    except ProtocolError as error:
        return error.code


async def at_once(
    replicas: Replicas, commands: list[cmd.DecidedCommand], clients: list[str] | None = None
) -> list[Ok | str]:
    """All of them started together, every other one on the other replica."""
    clients = clients or ["tab_A"] * len(commands)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(outcome(replicas[i % 2], command, client))
            for i, (command, client) in enumerate(zip(commands, clients, strict=True))
        ]
    return [task.result() for task in tasks]


async def assert_both_true(replicas: Replicas, session: str) -> None:
    for store in replicas:
        await assert_true(store, session)


async def test_one_command_a_hundred_times_has_one_effect(replicas: Replicas) -> None:
    name = await created(replicas.a)
    command = cmd.MessageSend(id="k_1", session=name, content="Hi")
    answers = await at_once(replicas, [command] * 200)
    assert isinstance(answers[0], Ok)
    assert answers == [answers[0]] * 200
    assert answers[0].seq == 3
    assert await types(replicas.a.broker, name, 1) == ["message.added", "run.queued"]
    await assert_both_true(replicas, name)


async def test_a_creation_at_once_has_one_effect(replicas: Replicas) -> None:
    create = cmd.SessionCreate(id="k_1", agent="scripted", session="s_at_once")
    answers = await at_once(replicas, [create] * 50)
    assert answers == [Ok(id="k_1", session="s_at_once")] * 50
    assert await types(replicas.b.broker, "s_at_once") == ["session.created"]


async def test_of_two_bodies_with_one_id_one_wins(replicas: Replicas) -> None:
    name = await created(replicas.a)
    commands = [cmd.MessageSend(id="k_1", session=name, content=str(i % 2)) for i in range(20)]
    answers = await at_once(replicas, list(commands))
    for same in (answers[0::2], answers[1::2]):
        assert same == [same[0]] * 10
    assert {isinstance(answers[0], Ok), isinstance(answers[1], Ok)} == {True, False}
    assert "command.conflict" in answers[:2]


async def test_approvals_at_once_have_one_winner(replicas: Replicas) -> None:
    name = await created(replicas.a, ASK)
    await send(replicas.a, name)
    one = await attempt(replicas.a)
    await one.step(calling("c_1", "ask", "m_call"))
    (approval,) = one.session.state.approvals
    answers = await at_once(
        replicas,
        [
            cmd.ApprovalRespond(
                id=f"k_{i}",
                session=name,
                approval=approval,
                decision="approve" if i % 2 else "deny",
            )
            for i in range(20)
        ],
    )
    assert sum(isinstance(a, Ok) for a in answers) == 1
    assert answers.count("approval.closed") == 19
    assert (await types(replicas.a.broker, name)).count("approval.resolved") == 1
    check_log(await log(replicas.a.broker, name))


async def test_claims_and_results_at_once_have_one_winner(replicas: Replicas) -> None:
    name = await created(replicas.a, SLOW)
    start = cmd.RunStart(id="k_start", session=name)
    await replicas.a.submit(start, origin(""))
    one = await attempt(replicas.b)
    await one.step(calling("c_1", "slow", "m_call"))
    tabs = [f"tab_{i}" for i in range(10)]
    claims = [cmd.ToolClaim(id="k_1", session=name, call="c_1") for _ in tabs]
    answers = await at_once(replicas, list(claims), tabs)
    assert answers.count("tool.held") == 9
    results = [cmd.ToolResult(id="k_2", session=name, call="c_1", output=tab) for tab in tabs]
    answers = await at_once(replicas, list(results), tabs)
    assert sum(isinstance(a, Ok) for a in answers) == 1
    assert set(answers) - {a for a in answers if isinstance(a, Ok)} <= {"tool.held", "tool.closed"}
    assert (await types(replicas.a.broker, name)).count("tool_call.completed") == 1


async def test_stops_at_once_end_the_run_once(replicas: Replicas) -> None:
    name = await created(replicas.a)
    await send(replicas.a, name)
    one = await attempt(replicas.b)
    await one.step(inputs.StartMessage(message="m_2"))
    stops = [cmd.RunInterrupt(id=f"k_{i}", session=name) for i in range(100)]
    answers = await at_once(replicas, list(stops))
    assert sum(isinstance(a, Ok) for a in answers) == 1
    assert answers.count("run.not_active") == 99
    assert (await types(replicas.a.broker, name)).count("run.cancelled") == 1


async def test_deletes_at_once(replicas: Replicas) -> None:
    name = await created(replicas.a)
    delete = cmd.SessionDelete(id="k_1", session=name)
    answers = await at_once(replicas, [delete] * 20)
    assert answers == [Ok(id="k_1")] * 20


async def test_conflicting_commands_are_all_carried_out(replicas: Replicas) -> None:
    name = await created(replicas.a)
    changes = [
        cmd.SessionUpdate(id=command_id(), session=name, metadata={f"k{i}": i}) for i in range(40)
    ]
    answers = await at_once(replicas, list(changes))
    assert all(isinstance(a, Ok) for a in answers)
    session = await replicas.b.load(name, DEV)
    assert session.state.metadata == {f"k{i}": i for i in range(40)}
    assert session.version == 41
    await assert_both_true(replicas, name)


async def test_each_sees_what_the_other_wrote(replicas: Replicas) -> None:
    name = await created(replicas.a)
    for i in range(6):
        writer, reader = replicas[i % 2], replicas[1 - i % 2]
        await update(writer, name, n=i)
        assert (await reader.load(name, DEV)).state.metadata == {"n": i}
        await assert_both_true(replicas, name)


async def test_a_repeat_on_the_other_replica(replicas: Replicas) -> None:
    name = await created(replicas.a)
    command = cmd.MessageSend(id="k_1", session=name, content="Hi")
    first = await replicas.a.submit(command, origin())
    await replicas.b.submit(cmd.RunInterrupt(id="k_2", session=name), origin())
    assert await replicas.b.submit(command, origin()) == first
    other = cmd.MessageSend(id="k_1", session=name, content="Ho")
    assert await outcome(replicas.b, other) == "command.conflict"


async def test_ticks_of_two_processes_release_once(replicas: Replicas) -> None:
    name = await created(replicas.a, QUICK)
    await send(replicas.a, name)
    one = await attempt(replicas.a)
    await one.step(calling("c_1", "quick", "m_call"))
    await replicas.b.submit(cmd.ToolClaim(id="k_1", session=name, call="c_1"), origin())

    async def released() -> bool:
        async with asyncio.TaskGroup() as group:
            for store in replicas * 3:
                group.create_task(store.tick(name))
        return "tool_call.released" in await types(replicas.a.broker, name)

    await eventually(released)
    await released()
    told = await types(replicas.b.broker, name)
    last = len(told) - told[::-1].index("tool_call.claimed")
    assert told[last:].count("tool_call.released") == 1
    await assert_both_true(replicas, name)


async def test_commands_and_a_stream_interleave(replicas: Replicas) -> None:
    name = await created(replicas.a)
    await send(replicas.a, name)
    one = await attempt(replicas.b)
    await one.step(inputs.StartMessage(message="m_2"))

    async def streams() -> None:
        for i in range(40):
            await one.stream([delta(replicas.b, "m_2", f"{i},")])
            await asyncio.sleep(0)

    async def steers(store: Store) -> None:
        for i in range(10):
            await send(store, name, f"{i}", if_busy="steer")

    async with asyncio.TaskGroup() as group:
        group.create_task(streams())
        for store in replicas:
            group.create_task(steers(store))
    await one.step(inputs.EndMessage(message="m_2"))
    await one.step(inputs.CompleteRun())
    session = await replicas.a.load(name, DEV)
    message = session.state.message("m_2")
    assert message is not None
    assert getattr(message.parts[0], "text", "") == "".join(f"{i}," for i in range(40))
    assert len(session.state.messages) == 22
    assert one.session.state == session.state
    await assert_both_true(replicas, name)
    check_log(await log(replicas.a.broker, name))


async def test_everybody_at_random(replicas: Replicas) -> None:
    """Clients on both replicas, ticks, and a worker that is now and then taken over."""
    name = await created(replicas.a, QUICK, ASK)
    dice = random.Random(7)

    def command() -> cmd.DecidedCommand:
        kind = dice.randrange(6)
        busy: IfBusy = dice.choice(list(get_args(IfBusy)))
        if kind < 3:
            return cmd.MessageSend(id=command_id(), session=name, content="x", if_busy=busy)
        if kind == 3:
            return cmd.RunInterrupt(id=command_id(), session=name)
        if kind == 4:
            return cmd.ToolResult(id=command_id(), session=name, call=f"c_{dice.randrange(9)}")
        return cmd.SessionUpdate(id=command_id(), session=name, metadata={"n": dice.random()})

    async def client(store: Store) -> None:
        for _ in range(40):
            await outcome(store, command())
            if dice.random() < 0.2:
                await store.tick(name)

    async def worker(store: Store, number: int) -> None:
        for i in range(15):
            held = await store.broker.claim(f"w{number}", ["scripted"], lease_s=0.001)
            if held is None:
                await asyncio.sleep(0)
                continue
            prefix = f"{number}_{i}"
            try:
                one = await store.attempt(held)
                await one.step(inputs.ClaimRun(resume="history", lost=held.lost))
                await one.step(inputs.StartMessage(message=f"m_{prefix}"))
                await one.stream([delta(store, f"m_{prefix}")] * 3)
                await one.step(inputs.EndMessage(message=f"m_{prefix}"))
                await one.step(calling(f"c_{prefix}", "quick", f"m_{prefix}c"))
                if dice.random() < 0.5:
                    await one.step(inputs.CompleteRun())
            except (Fenced, RuleBrokenError):
                continue

    async with asyncio.TaskGroup() as group:
        for number, store in enumerate(replicas):
            group.create_task(client(store))
            group.create_task(worker(store, number))
    await assert_both_true(replicas, name)
    loaded = await replicas.a.broker.load(name)
    stored = await log(replicas.a.broker, name)
    assert len(stored) == loaded.head.seq
    check_log(stored)


def check_log(stored: list[ev.Event]) -> None:
    """The rules that need no knowledge of where an append ends."""
    history = History()
    for event in stored:
        history.see(event)
    assert len(history.live) <= 1
