"""Which names are refused (B8, D2), and that nobody is refused by one who cannot know."""

import asyncio
import math
from collections.abc import Mapping

import pytest

from gateway.broker.base import Offered
from gateway.broker.memory import MemoryBroker
from gateway.errors import BrokerUnavailable
from gateway.fleet.directory import BELIEVED_S, LOOK_AGAIN_S, SETTLING_S, Directory, unknown
from gateway.fleet.record import AgentOffer, ProcessRecord, encode_record
from protocol.errors import ProtocolError
from tests.support.inprocess import ManualClock


class Shared(MemoryBroker):
    """Others may have offered agents before `since`; counts the looks."""

    def __init__(self, clock: ManualClock, since: float = -math.inf) -> None:
        super().__init__(clock)
        self.since = since
        self.looks = 0
        self.away = False

    async def offered(self) -> Offered:
        self.looks += 1
        if self.away:
            raise BrokerUnavailable("away")
        return Offered((await super().offered()).agents, self.since)


async def refused(directory: Directory, name: str) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        await directory.check(name)
    assert caught.value.code == "agent.not_found"
    return caught.value


async def test_b8_a_misspelt_agent_is_refused_at_once() -> None:
    broker = MemoryBroker()
    await broker.offer({"echo": b"", "researcher": b""})
    directory = Directory(broker)
    error = await refused(directory, "echoo")
    assert error.message == 'There is no agent "echoo". Did you mean "echo"?'
    assert error.details == {"agent": "echoo", "did_you_mean": ["echo"]}
    await directory.check("echo")


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("Echo", ["echo"]),
        ("EchoAgnt", ["EchoAgent"]),
        ("researcher2", ["researcher"]),
        ("zzz", []),
    ],
)
def test_b8_slips_of_other_kinds(name: str, close: list[str]) -> None:
    error = unknown(name, ["EchoAgent", "echo", "researcher"])
    assert (error.details or {})["did_you_mean"][: len(close) or None] == close
    assert f'"{name}"' in error.message
    assert ("Did you mean" in error.message) == bool(close)
    assert ("GET /v1/agents" in error.message) == (not close)


async def test_b8_names_that_a_token_may_not_use_are_not_told() -> None:
    broker = MemoryBroker()
    await broker.offer({"secret": b"", "secrets": b""})
    with pytest.raises(ProtocolError) as caught:
        await Directory(broker).check("secre", frozenset({"secre", "secrets"}))
    assert caught.value.details == {"agent": "secre", "did_you_mean": ["secrets"]}


async def test_d2_nobody_offered_anything_yet() -> None:
    """A fleet whose workers start after its replicas."""
    await Directory(Shared(ManualClock(), since=math.inf)).check("anything")
    await Directory(MemoryBroker(), [AgentOffer("echo")]).check("anything")


async def test_d2_others_may_still_be_starting() -> None:
    clock = ManualClock()
    broker = Shared(clock, since=clock())
    await broker.offer({"echo": b""})
    directory = Directory(broker, clock=clock)
    await directory.check("cook")
    clock.now += SETTLING_S + 1
    await refused(directory, "cook")


async def test_d2_a_broker_that_cannot_be_asked_refuses_nobody() -> None:
    clock = ManualClock()
    broker = Shared(clock)
    await broker.offer({"echo": b""})
    directory = Directory(broker, clock=clock)
    await refused(directory, "cook")
    clock.now += 1
    broker.away = True
    await directory.check("cook")
    clock.now += 1
    broker.away = False
    await refused(directory, "cook")


async def test_d2_one_that_comes_is_found() -> None:
    clock = ManualClock()
    broker = Shared(clock)
    await broker.offer({"echo": b""})
    directory = Directory(broker, clock=clock)
    await refused(directory, "cook")
    await broker.offer({"cook": b""})
    clock.now += 2 * LOOK_AGAIN_S
    await directory.check("cook")


async def test_d2_after_a_day_it_is_unknown() -> None:
    clock = ManualClock()
    broker = Shared(clock)
    await broker.offer({"cook": b""})
    directory = Directory(broker, clock=clock)
    await directory.check("cook")
    clock.now += 23 * 3600
    await broker.offer({"echo": b""})
    await directory.check("cook")
    clock.now += 3600
    await refused(directory, "cook")


async def test_what_was_found_is_not_looked_up_again() -> None:
    clock = ManualClock()
    broker = Shared(clock)
    await broker.offer({"cook": b""})
    directory = Directory(broker, [AgentOffer("mine")], clock=clock)
    for _ in range(100):
        await directory.check("mine")
    assert broker.looks == 0
    for _ in range(100):
        await directory.check("cook")
    assert broker.looks == 1
    clock.now += BELIEVED_S
    await directory.check("cook")
    assert broker.looks == 2


async def test_a_flood_of_wrong_names_is_a_few_looks() -> None:
    clock = ManualClock()
    broker = Shared(clock)
    await broker.offer({"cook": b""})
    directory = Directory(broker, clock=clock)

    async def ask(number: int) -> None:
        with pytest.raises(ProtocolError):
            await directory.check(f"nobody{number}")

    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(ask(number))
    assert broker.looks == 1
    clock.now += 2 * LOOK_AGAIN_S
    await ask(0)
    assert broker.looks == 2


def record(name: str, agents: Mapping[str, str | None]) -> bytes:
    offers = [AgentOffer(n, d) for n, d in agents.items()]
    made = ProcessRecord(id=name, role="worker", version="1", started="", agents=offers)
    return encode_record(made)


async def test_d1_the_list_says_who_is_there() -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock)
    await broker.offer({"cook": b"Cooks.", "baker": b""})
    await broker.announce("p_1", record("p_1", {"cook": "Cooks."}))
    directory = Directory(broker, [AgentOffer("mine", "Mine.")], clock=clock)
    rows = [(r.name, r.available, r.description) for r in await directory.listed()]
    assert rows == [("baker", False, None), ("cook", True, "Cooks."), ("mine", True, "Mine.")]
    clock.now += 15
    rows = [(r.name, r.available) for r in await directory.listed(frozenset({"cook", "x"}))]
    assert rows == [("cook", False)]
