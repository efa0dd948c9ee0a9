"""What typed lines mean."""

from typing import Any, get_args

import pytest

from gateway.cli.chat import lines
from gateway.cli.chat.lines import Decision, Edit, Message, Mistake, Order


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("Hello", Message("Hello")),
        ("  Hello\nthere  ", Message("Hello\nthere")),
        ("//etc/hosts", Message("/etc/hosts")),
        ("", Message("")),
        ("/help", Order("help")),
        ("/resume  s_1 ", Order("resume", "s_1")),
        ("/exit", Order("quit")),
    ],
)
def test_a_line(line: str, meaning: object) -> None:
    assert lines.read(line) == meaning


def test_an_unknown_command_names_help() -> None:
    mistake = lines.read("/nonsense now")
    assert isinstance(mistake, Mistake)
    assert "/help" in mistake.text


def test_help_has_every_command() -> None:
    assert set(lines.HELP) == set(get_args(lines.Name))
    assert all(text.startswith(f"/{name}") for name, text in lines.HELP.items())


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("y", Decision(approve=True)),
        (" YES ", Decision(approve=True)),
        ("n", Decision(approve=False)),
        ("no not  now ", Decision(approve=False, reason="not  now")),
        ("always", Decision(approve=True, remember=True)),
        ("a", Decision(approve=True, remember=True)),
        ("e", Edit()),
        ('{"a": [1]}', Decision(approve=True, arguments={"a": [1]})),
    ],
)
def test_a_decision(line: str, answer: object) -> None:
    assert lines.decision(line) == answer


@pytest.mark.parametrize("line", ["", "yes please", "ok", "[1]", "3", '{"a":', "null", "nope"])
def test_what_is_no_decision_decides_nothing(line: str) -> None:
    assert isinstance(lines.decision(line), Mistake)


@pytest.mark.parametrize(
    ("line", "output"),
    [("Welcome", "Welcome"), ("3", 3), ('{"a": null}', {"a": None}), ("null", None), ("{a", "{a")],
)
def test_a_result_is_json_or_text(line: str, output: Any) -> None:
    assert lines.result(line) == output


@pytest.mark.parametrize("level", ["answer", "steps", "full"])
def test_a_detail(level: str) -> None:
    assert lines.detail(level) == level
    assert lines.detail(level.upper()) is None
