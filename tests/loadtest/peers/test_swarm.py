"""Receivers that a server does not want."""

import socket
import threading

import pytest

from loadtest.peers.inbox import Broken
from loadtest.peers.swarm import Swarm
from tests.loadtest.peers.broadcaster import ACCEPTED

BUSY = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
REFUSED = b"HTTP/1.1 400 Bad Request\r\n\r\n"


def answering(*answers: bytes) -> int:
    """A port whose connections get these answers, one each."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def test_a_server_that_is_not_ready_is_asked_again() -> None:
    with Swarm(answering(BUSY, BUSY, ACCEPTED)) as swarm:
        assert swarm.connect("/", engine=False) == 0


def test_a_refusal_is_told() -> None:
    with Swarm(answering(REFUSED)) as swarm, pytest.raises(Broken, match="400"):
        swarm.connect("/", engine=False)


def test_a_connection_that_ends_is_told() -> None:
    with Swarm(answering(ACCEPTED)) as swarm:
        swarm.connect("/", engine=False)
        with pytest.raises(Broken, match="closed"):
            list(swarm.arrivals(5.0))
