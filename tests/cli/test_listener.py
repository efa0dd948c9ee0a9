"""A socket that listens, or a sentence that says what to do."""

import socket
from collections.abc import Iterator

import pytest

from gateway.cli import listener
from gateway.cli.listener import admin_listeners, http_url, listen
from gateway.errors import ConfigurationError
from tests.support import processes


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_it_listens_where_it_was_told(free_port: int) -> None:
    with listen("127.0.0.1", free_port) as server:
        assert http_url(server) == f"http://127.0.0.1:{free_port}/"
        socket.create_connection(("127.0.0.1", free_port), timeout=5).close()


def test_ipv6() -> None:
    with listen("::1", 0) as server:
        port = server.getsockname()[1]
        assert http_url(server) == f"http://[::1]:{port}/"
        socket.create_connection(("::1", port), timeout=5).close()


def test_a_port_in_use(taken: int) -> None:
    with pytest.raises(ConfigurationError, match=f"port {taken} .* in use: .*--port"):
        listen("127.0.0.1", taken)
    with pytest.raises(ConfigurationError, match="in use"):
        listen("127.0.0.1", taken, any_port=True)


def test_operators_have_a_listener_for_each_process() -> None:
    assert admin_listeners("127.0.0.1", None, 3) == []
    made = admin_listeners("127.0.0.1", 0, 2)
    assert len({each.getsockname()[1] for each in made}) == 2
    for each in made:
        each.close()
    port = processes.free_port(in_a_row=2)
    (one,) = admin_listeners("127.0.0.1", port + 1, 1)
    with one:
        assert one.getsockname()[1] == port + 1
        with pytest.raises(ConfigurationError, match=r"in use: .*--admin-port"):
            admin_listeners("127.0.0.1", port, 2)
        socket.create_server(("127.0.0.1", port)).close()  # was given back
    with pytest.raises(ConfigurationError, match="choose a lower one"):
        admin_listeners("127.0.0.1", 65_535, 2)


def test_only_the_default_port_gives_way(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "DEFAULT_PORT", taken)
    with listen("127.0.0.1", None, any_port=True) as server:
        assert server.getsockname()[1] != taken
    with pytest.raises(ConfigurationError, match="in use"):
        listen("127.0.0.1", None)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "127.0.0..1"])
def test_a_foreign_host(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{host} is no address .*--host"):
        listen(host, 0)


def test_everywhere_is_found_at_home() -> None:
    with listen("0.0.0.0", 0) as server:
        assert http_url(server).startswith("http://127.0.0.1:")
