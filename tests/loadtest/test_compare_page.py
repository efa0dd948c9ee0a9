"""The page of a comparison."""

from loadtest.compare import compare_runs
from loadtest.compare_page import comparison_page
from loadtest.result import Run
from tests.loadtest.measured import result, run, through_redis
from tests.loadtest.reading import SVG, parsed, pictures


def made(before: Run, after: Run) -> str:
    return comparison_page(compare_runs(before, after), before, after)


def test_ratios_are_plotted_and_told() -> None:
    html = made(run(result(us=2.0), through_redis(3.0)), run(result(us=1.0), through_redis(4.0)))
    told = " ".join(parsed(html).text)
    assert "▲ 2.00× better" in told
    assert "▼ 1.33× worse" in told
    assert len(pictures(html)) == 2
    classes = [rect.get("class") for svg in pictures(html) for rect in svg.iter(f"{SVG}rect")]
    assert {"bar better", "bar worse", "bar same"} == set(classes)


def test_pairs_stand_below_their_scenario() -> None:
    both = run(result(), result(target="redis"), through_redis())
    assert made(both, both).count("<h2>") == 2


def test_commands_of_both_runs_are_escaped() -> None:
    html = made(run(result(), command="one <x>"), run(result(), command="two & more"))
    text = parsed(html).text
    assert "one <x>" in text
    assert "two & more" in text


def test_runs_without_anything_in_common_are_a_page() -> None:
    html = made(run(result()), run(through_redis()))
    assert "nothing was measured on both sides" in " ".join(parsed(html).text)
    assert pictures(html) == []
