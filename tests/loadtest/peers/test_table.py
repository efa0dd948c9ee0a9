"""The table of all products."""

from loadtest.peers.case import CASES
from loadtest.peers.measure import PER_CONNECTION
from loadtest.peers.table import markdown
from loadtest.result import Cost, Figure, Result
from tests.loadtest.measured import result, run

WIDE = CASES[2]
IDLE = CASES[-1]


def peer(name: str, us: float) -> Result:
    cost = Cost(name="server", role="peer", cpu_s=1.0, cpu_us_per_event=us)
    redis = Cost(name="redis", role="redis", cpu_s=1.0, cpu_us_per_event=9.0)
    return result(WIDE.scenario, target=name, costs=(cost, redis), options=WIDE.options)


def ours(us: float) -> Result:
    return result(WIDE.scenario, us=us, target="redis", options=WIDE.options)


def rows(text: str) -> dict[str, list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in cells}


def test_medians_and_the_median_of_the_rounds_ratios() -> None:
    rounds = [(0.5, 8.0), (1.0, 10.0), (2.0, 18.0)]  # 16, 10 and 9 times
    found = rows(markdown(run(*(r for a, b in rounds for r in (ours(a), peer("nchan", b))))))
    assert found["**Agent Gateway**"] == ["1.00"]
    assert found["Nchan"] == ["10.0 (10.0×)"]
    assert found[""] == ["broadcast to 1,000, 16 outstanding, µs per event"]


def test_a_round_that_failed_on_either_side_is_left_out() -> None:
    first, second = (ours(1.0), peer("nchan", 8.0)), (ours(2.0), peer("channels", 80.0))
    found = rows(markdown(run(peer("nchan", 8.0), *first, *second, peer("nchan", 24.0))))
    assert found["Nchan"] == ["8.00 (10.0×)"]
    assert found["Django channels"] == ["80.0 (40.0×)"]


def test_without_ours_there_is_no_ratio() -> None:
    assert rows(markdown(run(peer("nchan", 8.0))))["Nchan"] == ["8.00"]


def test_memory_of_idle_connections() -> None:
    sizes = (
        Figure("a connection", 20_480.0, "bytes"),
        Figure("a subscribed session", 1_024.0, "bytes"),
    )
    held = (Figure(PER_CONNECTION, 43_008.0, "bytes"),)
    found = rows(
        markdown(
            run(
                result("idle", target="redis", events=0, figures=sizes, options=IDLE.options),
                result("idle", target="channels", events=0, figures=held, options=IDLE.options),
            )
        )
    )
    assert found["**Agent Gateway**"] == ["21.0"]
    assert found["Django channels"] == ["42.0 (2.00×)"]
    assert "python-socketio" not in found


def test_it_says_where_and_how() -> None:
    text = markdown(run(ours(1.0), command="python -m loadtest peers"))
    assert "Model <X> & Co, 2 cores" in text
    assert "uvicorn 0.54.0" in text
    assert "Median of 1 round." in text
    assert "    python -m loadtest peers" in text
