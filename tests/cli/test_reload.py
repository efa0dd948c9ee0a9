"""What is read again takes effect where it can, and says so; real signals are in tests/faults."""

import logging
import signal
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from gateway.cli.reload import Configuration
from gateway.errors import ConfigurationError
from gateway.settings import Settings


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    """The root logger's level is left as it was."""
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


def test_what_was_read_is_taken_and_told() -> None:
    wished = Settings(heartbeat_ms=5, max_runs=3, log_level="debug")
    configuration = Configuration(Settings(), lambda: wished)
    with capture_logs() as lines:
        assert configuration.hung_up() == signal.SIGHUP
    assert configuration.settings == Settings(heartbeat_ms=5, log_level="debug")
    assert logging.getLogger().level == logging.DEBUG
    (line,) = lines
    assert line["log_level"] == "warning"
    assert (line["changed"], line["needs_restart"]) == (["log_level", "heartbeat_ms"], ["max_runs"])


def test_what_needs_a_restart_is_named_until_there_was_one() -> None:
    configuration = Configuration(Settings(), lambda: Settings(max_runs=3))
    with capture_logs() as lines:
        configuration.hung_up()
        configuration.hung_up()
    assert [line["needs_restart"] for line in lines] == [["max_runs"]] * 2


def refused() -> Settings:
    raise ConfigurationError("two\nlines")


def without_secret() -> Settings:
    return Settings(log_level="debug")


@pytest.mark.parametrize("read", [refused, without_secret])
def test_what_cannot_be_obeyed_changes_nothing(read: Callable[[], Settings]) -> None:
    """Neither what is wrong by itself, nor what does not go with what needs a restart."""
    settings = Settings(auth="jwt", auth_secret="s" * 32)
    configuration = Configuration(settings, read)
    with capture_logs() as lines:
        assert configuration.hung_up() is None
    assert configuration.settings is settings
    assert logging.getLogger().level != logging.DEBUG
    (line,) = lines
    assert line["log_level"] == "error"
    assert "\n" not in line["problem"]
