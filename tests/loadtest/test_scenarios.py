"""Every scenario at a small scale, over real sockets, against gateways that it starts.

Nothing here says how fast anything is.
"""

from collections.abc import Iterator

import msgspec
import pytest

from loadtest.ceiling import ceiling_per_s, events_a_message
from loadtest.drivers import DRIVERS
from loadtest.errors import LoadError
from loadtest.programs import Program, module
from loadtest.result import Result
from loadtest.scenarios import SCENARIOS, Load, Scenario
from loadtest.stage import Stage
from loadtest.target import Running, Setup, running
from tests.support.processes import free_port


def told(_what: str, _done: float, _whole: float) -> None:
    """Progress that nobody watches."""


def drive(target: Running, name: str, **changes: object) -> list[Result]:
    scenario = SCENARIOS[name]
    load = msgspec.structs.replace(
        scenario.load, **{"seconds": 0.6, "warm_up_s": 0.2, "sample": 1, **changes}
    )
    return DRIVERS[scenario.driver](target, scenario, load, told)


def assert_sound(result: Result) -> None:
    """Something came, nothing is missing, and it was measured."""
    assert result.missing == 0
    assert result.errors == 0
    assert result.events > 0
    assert result.seconds > 0
    assert {cost.role for cost in result.costs} >= {"gateway", "client"}
    assert all(cost.cpu_s >= 0 and cost.rss_after_bytes > 2**20 for cost in result.costs)


@pytest.fixture(scope="module")
def memory() -> Iterator[Running]:
    with running(Setup(coalesce_ms=0)) as target:
        yield target


@pytest.fixture(scope="module")
def redis() -> Iterator[Running]:
    with running(Setup(target="redis", workers=2)) as target:
        yield target


def test_broadcast_reaches_every_subscriber(memory: Running) -> None:
    (result,) = drive(memory, "broadcast", sockets=7, outstanding=3)

    assert_sound(result)
    assert result.tokens == result.events
    assert result.load == 7
    assert result.latency is not None
    assert result.latency.count == result.tokens
    assert result.ceiling_per_s is not None
    assert sum(moment.events for moment in result.moments) <= result.events


def test_several_clients_share_the_subscribers(memory: Running) -> None:
    (result,) = drive(memory, "broadcast", sockets=5, outstanding=2, clients=2)

    assert_sound(result)
    assert [cost.name for cost in result.costs if cost.role == "client"] == ["client 1", "client 2"]


def test_multiplex_has_many_sessions_on_few_sockets(memory: Running) -> None:
    (result,) = drive(memory, "multiplex", sessions=12, sockets=3, outstanding=6)

    assert_sound(result)
    assert result.options["outstanding"] == 6


def test_a_count_ends_the_window(memory: Running) -> None:
    (result,) = drive(
        memory, "multiplex", sessions=4, sockets=2, outstanding=4, count=5, seconds=20
    )

    assert_sound(result)
    assert result.events >= 5
    assert result.seconds < 15


def test_without_acks_all_the_same_comes(memory: Running) -> None:
    (result,) = drive(memory, "multiplex", sessions=2, sockets=2, outstanding=2, acks=False)

    assert_sound(result)


def test_tools_are_answered(memory: Running) -> None:
    (result,) = drive(memory, "tools", sessions=2, sockets=1)

    assert_sound(result)
    assert result.latency is not None
    assert result.latency.count == result.events


def test_commands_are_answered(memory: Running) -> None:
    (result,) = drive(memory, "fan-in", sessions=4, sockets=2, outstanding=2)

    assert_sound(result)
    with pytest.raises(LoadError, match="--outstanding must be 1"):
        drive(memory, "fan-in", outstanding=0)


def test_idle_connections_and_sessions_take_memory(memory: Running) -> None:
    (result,) = drive(memory, "idle", sessions=120, sockets=40)
    figures = {figure.name: figure.value for figure in result.figures}

    assert (result.events, result.missing) == (0, 0)
    assert figures.keys() >= {"a connection", "a subscribed session"}


def test_a_storm_brings_back_what_was_missed(memory: Running) -> None:
    (result,) = drive(memory, "storm", sessions=6, sockets=6, missed=20)

    assert result.missing == 0
    assert result.events == 6 * 21  # and each run's end
    assert not any("state instead" in note for note in result.notes)


def test_slow_readers_are_measured_with_and_without(memory: Running) -> None:
    before, after = drive(memory, "slow", sockets=4, stalled=1, rate=100.0)

    assert_sound(before)
    assert_sound(after)
    assert (before.options["stalled"], after.options["stalled"]) == (0, 1)
    assert after.lag is None or after.lag.count > 0
    with pytest.raises(LoadError, match="--stalled must be from 1 to 3"):
        drive(memory, "slow", sockets=4, stalled=4)


def test_a_soak_cuts_and_resumes(memory: Running) -> None:
    (result,) = drive(memory, "soak", sessions=6, sockets=3, rate=20.0, churn=1, seconds=1.5)
    figures = {figure.name: figure.value for figure in result.figures}

    assert_sound(result)
    assert figures["connections cut and resumed"] >= 1
    assert figures["descriptors at the end"] > 0


def test_tokens_go_through_redis_and_workers(redis: Running) -> None:
    (result,) = drive(redis, "tokens", sessions=10, sockets=2, rate=40.0)

    assert_sound(result)
    assert {cost.role for cost in result.costs} == {"gateway", "worker", "redis", "client"}
    assert result.redis is not None
    assert result.redis.commands_per_event > 0
    assert result.lag is not None
    assert result.tokens >= result.events > 0


def test_events_go_through_redis_and_workers(redis: Running) -> None:
    (result,) = drive(redis, "broadcast", sockets=4, outstanding=4)

    assert_sound(result)


def test_a_publisher_in_place_of_workers() -> None:
    with running(Setup(target="redis", publisher=True)) as target:
        (result,) = drive(target, "multiplex", sessions=6, sockets=3, outstanding=16)

    assert_sound(result)
    assert result.workers == 0
    assert {cost.role for cost in result.costs} == {"gateway", "redis", "client"}


def test_processes_are_told_apart() -> None:
    with running(Setup(target="redis", processes=2, workers=0)) as target:
        (result,) = drive(target, "multiplex", sessions=6, sockets=6, outstanding=6)

    assert_sound(result)
    names = [cost.name for cost in result.costs if cost.role == "gateway"]
    assert names == ["gateway 1", "gateway 2"]


@pytest.mark.cluster
def test_a_cluster_can_be_the_target() -> None:
    with running(Setup(target="cluster")) as target:
        (result,) = drive(target, "multiplex", sessions=6, sockets=2, outstanding=6)

    assert_sound(result)
    assert len([cost for cost in result.costs if cost.role == "redis"]) == 3


@pytest.fixture(scope="module")
def somebody() -> Iterator[Running]:
    """A gateway that was not started by us, with the limits and agents it has by default."""
    port = free_port()
    command = module("gateway.cli", "serve", "--port", str(port), "--agents", "scripted")
    with Program("gateway", command) as program:
        program.until(lambda: "gateway_started" in program.log.read_text())
        with running(Setup(target=f"ws://127.0.0.1:{port}/v1/ws")) as target:
            yield target


@pytest.mark.parametrize("name", ["broadcast", "tokens", "tools"])
def test_a_gateway_of_others_is_measured_from_outside(somebody: Running, name: str) -> None:
    small = {"sessions": 1, "sockets": 3} if name == "broadcast" else {"sessions": 4, "sockets": 2}
    (result,) = drive(somebody, name, **small)

    assert result.events > 0
    assert result.missing == 0
    assert result.latency is not None
    assert {cost.role for cost in result.costs} == {"client"}
    assert any("not started here" in note for note in result.notes)


def test_the_limits_of_a_gateway_of_others_are_told(somebody: Running) -> None:
    """Commands as fast as they are answered are a flood to its limits."""
    with pytest.raises(LoadError, match=r"--frames-per-s|hung up"):
        drive(somebody, "fan-in", sessions=4, sockets=2, outstanding=500)


def test_a_storm_needs_a_gateway_of_its_own(somebody: Running) -> None:
    with pytest.raises(LoadError, match="use --target memory or redis"):
        drive(somebody, "storm")


def test_a_gateway_that_is_not_there_is_told() -> None:
    setup = Setup(target=f"ws://127.0.0.1:{free_port()}/v1/ws")
    with running(setup) as target, pytest.raises(LoadError, match="is a gateway running there"):
        drive(target, "tools")


def test_a_gateway_that_fails_is_quoted() -> None:
    def fail() -> None:
        with running(Setup()) as target:
            (gateway,) = target.programs
            gateway.log.write_text("something is wrong with the disk")
            raise LoadError("The gateway hung up.")

    with pytest.raises(LoadError, match=r"hung up\.\ngateway wrote:\nsomething is wrong"):
        fail()


def test_a_wrong_path_is_told(memory: Running) -> None:
    wrong = Running(setup=memory.setup, host=memory.host, port=memory.port, path="/v2/ws")
    with pytest.raises(LoadError, match=r"check the path of the URL \(/v1/ws\)"):
        drive(wrong, "tools")


def test_an_agent_that_is_not_there_is_told(
    somebody: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.stage.PATIENCE_S", 5.0)
    setup = msgspec.structs.replace(somebody.setup, target="memory")
    ours = Running(setup=setup, host=somebody.host, port=somebody.port)
    with pytest.raises(LoadError, match=r"agent\.not_found.* --agents loadtest\.agent:load"):
        drive(ours, "tools")


def test_the_clients_ceiling_is_its_own_cpu() -> None:
    load = Load(sockets=3, everywhere=True, outstanding=16, seconds=0.3)
    found = ceiling_per_s([["s_1"]] * 3, load, pin=True)

    assert found > 1_000


@pytest.mark.parametrize(
    ("load", "events"),
    [
        (Load(sockets=100, everywhere=True, outstanding=16), 16),
        (Load(sockets=100, everywhere=True, outstanding=1_000), 64),
        (Load(sessions=1_000, sockets=100, outstanding=256), 3),
        (Load(sessions=1_000, sockets=100, outstanding=10), 1),
        (Load(sessions=1_000, sockets=100, rate=50.0), 1),
    ],
)
def test_messages_are_as_large_as_the_load_makes_them(load: Load, events: int) -> None:
    assert events_a_message(load) == events


def test_whatever_happens_every_process_is_ended(memory: Running) -> None:
    scenario: Scenario = SCENARIOS["multiplex"]
    load = msgspec.structs.replace(scenario.load, sessions=2, sockets=2, seconds=0.2)
    programs: list[Program] = []

    def fail() -> None:
        with Stage(memory, scenario, load, told) as stage:
            programs.extend(member.program for member in stage.crew.members)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert programs
    assert not any(program.running for program in programs)
