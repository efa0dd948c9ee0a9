"""SIGHUP: the configuration is read again and applied to a process that goes on.

What a running process cannot change stays as it is, and one line of the log names it; what cannot
be obeyed changes nothing. Until somebody heeds it, the signal is kept waiting: by itself it would
end the process. On a terminal that is gone it means that, and ends the process in order.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog
from cyclopts import CycloptsError

from gateway.errors import GatewayError
from gateway.settings import WorkerSettings, taken_over

log = structlog.stdlib.get_logger("gateway.cli")

S = TypeVar("S", bound=WorkerSettings)


class Configuration(Generic[S]):
    """The settings of this process, and how to read those that it should have by now."""

    def __init__(self, settings: S, read: Callable[[], S]) -> None:
        self.settings = settings
        self._read = read
        self._on_terminal = sys.stdin is not None and sys.stdin.isatty()

    def hung_up(self) -> int | None:
        """SIGHUP has come: the signal that it means, or None if it cannot be obeyed.

        SIGTERM when the terminal that the process was started on is gone. Else SIGHUP, and
        `settings` are those that were read.
        """
        if self._on_terminal and not sys.stdin.isatty():
            return signal.SIGTERM
        return signal.SIGHUP if self._reload() else None

    def _reload(self) -> bool:
        try:
            taken = taken_over(self.settings, self._read())
        except (CycloptsError, GatewayError) as error:
            # no traceback: what a person can repair is told in one sentence
            problem = " ".join(str(error).split())
            log.error("configuration_not_reloaded", problem=problem)  # noqa: TRY400 - see above
            return False
        self.settings = taken.settings
        logging.getLogger().setLevel(taken.settings.log_level.upper())
        tell = log.warning if taken.needs_restart else log.info
        tell("configuration_reloaded", changed=taken.changed, needs_restart=taken.needs_restart)
        return True


def keep_waiting() -> None:
    """From now on SIGHUP waits, in this process and in those that it forks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))


def heed(configuration: Configuration[S], apply: Callable[[S], None] = lambda _: None) -> None:
    """From now on, in the running loop, SIGHUP reloads; one that has waited comes at once."""

    def take() -> None:
        number = configuration.hung_up()
        if number == signal.SIGTERM:
            os.kill(os.getpid(), number)
        elif number is not None:
            apply(configuration.settings)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, take)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
