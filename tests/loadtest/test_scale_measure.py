"""Constants from the results of the plan."""

import msgspec
import pytest

from loadtest.errors import LoadError
from loadtest.result import Cost, Figure, Redis, Result, Role
from loadtest.scale_measure import FEW, MANY, STEPS, Name, constants
from loadtest.scenarios import MOST_PLACES
from tests.loadtest.measured import result


def cost(role: Role, us: float, events: int, before: int = 0, after: int = 0) -> Cost:
    return Cost(
        name=role,
        role=role,
        cpu_s=us * events / 1e6,
        cpu_us_per_event=us,
        rss_before_bytes=before,
        rss_after_bytes=after,
    )


def silent(sockets: int) -> Result:
    """A minute: 2 µs/s a socket at the gateway, 1 µs/s at Redis, which has 100 µs/s of its own."""
    gateway = cost("gateway", 1.0, 50 * sockets * 2)
    redis = cost("redis", 1.0, 50 * (100 + sockets), after=1_000_000 + 3_000 * sockets)
    figures = (Figure("a connection", 20_000.0, "bytes"),)
    figures += (Figure("a subscribed session", 5_000.0, "bytes"),)
    return result("idle", events=0, seconds=50.0, costs=(gateway, redis), figures=figures)


def found() -> dict[Name, list[Result]]:
    """What each step might have found."""
    events = 1_000_000
    roles = (cost("gateway", 4.0, events), cost("redis", 3.0, events))
    plain = result(costs=roles)
    values: dict[Name, list[Result]] = {name: [plain] for name in STEPS}
    grown = cost("gateway", 1.0, events, before=10**8, after=10**8 + 250 * events)
    values["joined"] = [result(costs=(grown,))]
    values["idle-few"], values["idle-many"] = [silent(FEW)], [silent(MANY)]
    whole = Figure("a subscribed session", MANY * 600.0, "bytes")
    values["everywhere"] = [result("idle", figures=(whole,))]
    missed = Figure("events each has missed", 100.0, "count")
    values["storm"] = [result("storm", costs=roles, figures=(missed,))]
    values["one-follower"] = [result(costs=(cost("redis", 1.0, events),))]
    values["four-followers"] = [result(costs=(cost("redis", 1.5, events),))]
    empty, full = 60 * 10**6, 160 * 10**6
    values["fan-in"] = [result(costs=(*roles, cost("worker", 0.0, events, before=empty)))]
    both: dict[Name, int] = {"tokens-20": events, "tokens-60": 2 * events}
    for name, tokens in both.items():
        worker = cost("worker", 10.0, events, after=full)
        stored = Redis(used_memory_bytes=1, bytes_per_event=280.0, commands_per_event=5.0)
        values[name] = [result("tokens", costs=(*roles, worker), tokens=tokens, redis=stored)]
    return values


def test_constants_are_costs_and_differences() -> None:
    them = constants(found())

    assert them.gateway_event_us == them.gateway_copy_us == 4.0
    assert them.redis_append_us == 3.0
    assert them.gateway_resume_us == pytest.approx(400)  # 100 events each
    assert them.gateway_socket_us_per_s == pytest.approx(2)
    assert them.redis_session_us_per_s == pytest.approx(1)
    # A gateway and a worker, and the server's own.
    assert them.redis_process_us_per_s == pytest.approx((100 + FEW) / 2)
    assert them.redis_session_bytes == pytest.approx(3_000)
    # 12 sockets: 12 µs an append with one gateway, 18 with four
    assert them.redis_copy_us == pytest.approx(2)
    assert them.subscription_bytes == pytest.approx(600)
    assert them.feed_bytes == pytest.approx(4_400)
    assert them.feed_event_bytes == pytest.approx(250)
    assert (them.worker_token_20_us, them.worker_token_60_us) == (10.0, 5.0)
    assert (them.worker_events_20, them.worker_events_60) == (1.0, 0.5)
    assert them.run_bytes == pytest.approx(250_000)
    assert them.redis_event_bytes == 280.0


def test_what_disturbs_a_round_adds_cpu_so_the_least_counts() -> None:
    values = found()
    disturbed = result(costs=(cost("gateway", 9.0, 1_000_000), cost("redis", 8.0, 1_000_000)))
    values["busy"] = [disturbed, *values["busy"], disturbed]

    them = constants(values)
    assert them.gateway_event_us == 4.0
    assert them.redis_append_us == 3.0


@pytest.mark.parametrize("name", ["busy", "storm"])
def test_lost_events_make_no_constant(name: Name) -> None:
    values = found()
    values[name] = [msgspec.structs.replace(r, missing=1) for r in values[name]]

    with pytest.raises(LoadError, match=f"{name} lost events"):
        constants(values)


def test_no_step_asks_for_more_than_the_protocol_allows() -> None:
    for step in STEPS.values():
        load = step.load
        assert load.sessions <= MOST_PLACES * (1 if load.everywhere else load.tabs)
        assert load.seconds <= 62
