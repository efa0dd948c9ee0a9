"""The page of a run: well-formed, complete, and without anything from elsewhere."""

from typing import Any

from loadtest.page import page
from loadtest.result import Cost, Result, Run
from tests.loadtest.measured import result, run, through_redis
from tests.loadtest.reading import SVG, parsed, pictures


def at_load(subscribers: int, us: float, **fields: Any) -> Result:
    options = {"subscribers": subscribers, "outstanding": 16}
    return result(us=us, load=float(subscribers), options=options, **fields)


def peer(us: float) -> tuple[Cost, ...]:
    return (Cost(name="node", role="peer", cpu_s=us, cpu_us_per_event=us),)


def titles(whole: Run) -> list[str]:
    return [svg.findtext(f"{SVG}title") or "" for svg in pictures(page(whole))]


def text(whole: Run) -> str:
    return " ".join(parsed(page(whole)).text)


def test_a_page_is_well_formed_and_self_contained() -> None:
    whole = run(result(), through_redis(notes=("<b>&",)), at_load(1000, 0.6), command="a <b> & 'c'")
    told = text(whole)
    for part in ("a <b> & 'c'", "Model <X> & Co", "uvicorn 0.54.0", "<b>&", "27.6 KiB"):
        assert part in told
    assert pictures(page(whole))


def test_each_plot_has_a_table_and_a_description() -> None:
    html = page(run(result(), through_redis()))
    plots = pictures(html)
    assert [svg.get("role") for svg in plots] == ["img"] * 6
    assert all(svg.findtext(f"{SVG}desc") for svg in plots)
    assert html.count("<figure>") == 6
    assert all("<table>" in each.split("</figure>")[0] for each in html.split("<figure>")[1:])


def test_cost_against_load_needs_two_loads_of_the_same_measurement() -> None:
    against = "Server CPU per event against subscribers"
    assert against not in titles(run(at_load(10, 1.0), at_load(10, 1.1)))
    assert against not in titles(run(at_load(10, 1.0), at_load(100, 1.1, target="redis")))
    peers = [at_load(n, 7.0, target="socket.io", costs=peer(7.0)) for n in (10, 100)]
    whole = run(at_load(10, 1.0), at_load(100, 0.8), at_load(100, 0.9), *peers)
    assert titles(whole).count(against) == 1
    svg = next(p for p in pictures(page(whole)) if p.findtext(f"{SVG}title") == against)
    points = [c.findtext(f"{SVG}title") for c in svg.iter(f"{SVG}circle")]
    assert points == [
        "memory: 1.00 µs at 10",
        "memory: 0.850 µs at 100",
        "socket.io: 7.00 µs at 10",
        "socket.io: 7.00 µs at 100",
    ]


def test_the_load_generator_is_not_in_the_stack() -> None:
    svg = next(
        p for p in pictures(page(run(through_redis()))) if p.find(f".//{SVG}rect") is not None
    )
    kinds = [rect.get("class") for rect in svg.iter(f"{SVG}rect")]
    assert kinds == ["bar gateway", "bar worker", "bar redis"]


def test_percentiles_end_where_values_end() -> None:
    few = result(latency=None)
    assert "Latency by percentile" not in titles(run(few))
    assert "p99.99" in text(run(result()))


def test_doubts_are_told_beside_the_result() -> None:
    told = text(run(result(missing=3), result(client_bound=True, ceiling_per_s=1e6)))
    assert "3 events are missing" in told
    assert "client-bound: within 20 %" in told


def test_an_idle_gateway_has_memory_but_no_cost_per_event() -> None:
    whole = run(result("idle", events=0, latency=None, moments=()))
    assert titles(whole) == []
    assert "71.0 MiB" in text(whole)
    assert "µs" not in text(whole)


def test_a_run_without_latency_costs_or_moments_is_a_page() -> None:
    bare = Result(scenario="idle", target="memory", began="", seconds=1.0, events=0, bytes=0)
    assert titles(run(bare)) == []
    assert "idle" in text(run(bare))
    assert parsed(page(run()))
