"""Tables for documents."""

from loadtest.markdown import tables
from tests.loadtest.measured import result, run, through_redis


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_a_table_is_complete() -> None:
    head, rule, first, second = cells(tables(run(result(us=0.8), result(us=1.6, target="b|c"))))
    assert head[:3] == ["broadcast", "server CPU per event", "events per second"]
    assert set(rule[1:]) == {"---:"}
    assert first[:3] == ["memory", "0.800 µs", "200 k/s"]
    assert second[:2] == ["b\\|c", "1.60 µs"]
    assert len({len(row) for row in (head, rule, first, second)}) == 1


def test_each_scenario_has_its_own_columns() -> None:
    text = tables(run(result(), through_redis()))
    one, two = text.split("| multiplex")
    assert "memory per socket" not in one
    assert "memory per socket" in two


def test_a_doubtful_figure_says_so() -> None:
    text = tables(run(result(client_bound=True, ceiling_per_s=2e6)))
    assert "memory: client-bound" in text


def test_it_says_where_and_how() -> None:
    text = tables(run(result()))
    assert "Model <X> & Co, 2 cores" in text
    assert "uvicorn 0.54.0" in text
    assert "    python -m loadtest run broadcast" in text
