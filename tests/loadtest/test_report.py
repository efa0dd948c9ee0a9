"""The tables on the terminal."""

import io

from rich.console import Console

from loadtest.report import by_scenario, notes, show, warnings
from loadtest.result import Run
from tests.loadtest.measured import result, run, through_redis


def shown(whole: Run) -> list[str]:
    console = Console(file=io.StringIO())
    show(whole, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def line(lines: list[str], beginning: str) -> list[str]:
    return next(each for each in lines if each.strip().startswith(beginning)).split()


def test_nothing_is_wider_than_100_columns() -> None:
    long = {"subscribers": 100, "a rather long option": "with a long value, too", "outstanding": 16}
    lines = shown(run(result(), result(options=long), through_redis(notes=("word " * 50,))))
    assert max(len(each) for each in lines) <= 100


def test_a_measurement_is_a_line() -> None:
    lines = shown(run(result(us=0.8)))
    assert line(lines, "memory")[:3] == ["memory", "200", "k/s"]
    assert "0.800 µs" in " ".join(line(lines, "memory"))


def test_columns_that_nobody_has_are_left_out() -> None:
    assert "token" not in "\n".join(shown(run(result())))
    assert "/token" in "\n".join(shown(run(result(), through_redis())))


def test_every_process_is_listed() -> None:
    lines = shown(run(through_redis()))
    names = ("gateway 1", "worker 1", "redis ", "client 1")
    assert all(any(each.startswith(name) for each in lines) for name in names)
    assert any("behind its schedule" in each for each in lines)
    assert any("memory per socket: 27.6 KiB" in each for each in lines)


def test_text_of_a_note_is_not_markup() -> None:
    lines = shown(run(result(target="ws://[::1]:8000/v1/ws", notes=("[bold]so[/bold]",))))
    assert any("[bold]so[/bold]" in each for each in lines)
    assert sum("ws://[::1]:8000/v1/ws" in each for each in lines) == 2


def test_warnings_begin_with_what_is_wrong() -> None:
    doubtful = result(missing=3, errors=1, client_bound=True, ceiling_per_s=2e6, notes=("x",))
    told = list(warnings(doubtful))
    assert [each.split()[0] for each in told] == ["3", "1", "client-bound:"]
    assert "2.00 M/s" in told[2]
    assert list(warnings(result())) == []


def test_a_note_of_several_results_is_said_once() -> None:
    assert notes([result(notes=("a", "b")), result(notes=("b", "c"))]) == ["a", "b", "c"]
    lines = shown(run(result(notes=("pinned",)), result(notes=("pinned",))))
    assert [each.strip() for each in lines].count("pinned") == 1


def test_scenarios_keep_their_order() -> None:
    found = by_scenario((through_redis(), result(), through_redis(processes=2)))
    assert {name: len(groups) for name, groups in found.items()} == {"multiplex": 2, "broadcast": 1}
