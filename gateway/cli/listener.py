"""The listening socket: made before anything else, so that a port in use is told at once."""

import errno
import socket
from typing import cast

from gateway.errors import ConfigurationError
from gateway.server import open_listener
from gateway.settings import DEFAULT_PORT

BACKLOG = 2_048
LAST_PORT = 65_535
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def listen(host: str, port: int | None, *, any_port: bool = False) -> socket.socket:
    """A socket that listens on `host` and `port` (None: 8000; 0: any free one).

    With `any_port` a default port that is in use is replaced by a free one.

    Raises:
        ConfigurationError: the port is in use, may not be taken, or the host is not of here.
    """
    try:
        return _bind(host, DEFAULT_PORT if port is None else port)
    except OSError as error:
        if any_port and port is None and error.errno == errno.EADDRINUSE:
            return _bind(host, 0)
        raise ConfigurationError(_remedy(host, port or DEFAULT_PORT, error)) from error


def admin_listeners(host: str, port: int | None, count: int) -> list[socket.socket]:
    """One for each of so many processes, on `port` and those after it; none without a port.

    Raises:
        ConfigurationError: as `listen`, or the last of the ports is above 65535.
    """
    if port is None:
        return []
    if port + count - 1 > LAST_PORT:
        raise ConfigurationError(
            f"admin_port {port} and {count - 1} more are above {LAST_PORT}: choose a lower one."
        )
    made: list[socket.socket] = []
    try:
        for at in range(count):
            made.append(_bind(host, port and port + at))  # noqa: PERF401 - closed if one fails
    except OSError as error:
        for listener in made:
            listener.close()
        text = _remedy(host, port + len(made), error)
        raise ConfigurationError(
            text.replace("--port", "--admin-port").replace("--host", "--admin-host")
        ) from error
    return made


def http_url(listener: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = cast("tuple[str, int]", listener.getsockname()[:2])
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _bind(host: str, port: int) -> socket.socket:
    try:
        listener = open_listener(host.strip("[]"), port)
    except UnicodeError as error:  # no name of a host (RFC 3490)
        raise OSError(errno.EINVAL, "it is no name of a host") from error
    try:
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _remedy(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is in use: end what listens there, "
            "or choose another by --port (0 takes any free one)."
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges: choose one above 1023 by --port."
    return f"{host} is no address of this machine ({error.strerror}): choose another by --host."
