"""The blast process: a server that writes prepared frames as fast as the client takes them.

Against it a client shows what it can take itself. It speaks just enough WebSocket to be connected.
"""

import select
import socket
import sys
from collections.abc import Sequence

import msgspec

from loadtest.frames import PING, PONG, masked, unmasked
from loadtest.proc import raise_descriptor_limit
from loadtest.stamps import stamp

ROUNDS, STUCK_S = 2, 30.0
PONG_HEAD = masked(b"", PONG)[:2]
WELCOME = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Blast(msgspec.Struct, frozen=True):
    """The first line: who will come, and what each message holds."""

    tabs: list[list[str]]
    events: int
    event_bytes: int


def frame(session: str, event_bytes: int) -> bytes:
    """An event as it comes down."""
    head = '{"session":"%s","seq":1,"type":"custom","time":"2026-01-01T00:00:00.000Z","name":"load"'
    text = head % session + ',"value":"' + stamp(1) + '"}'
    return (text[:-2] + "x" * (event_bytes - len(text)) + '"}').encode()


def messages(sessions: Sequence[str], events: int, event_bytes: int) -> list[bytes]:
    """Messages of `events` events, the sessions taking turns."""
    found: list[bytes] = []
    for start in range(len(sessions)):
        named = [sessions[(start + i) % len(sessions)] for i in range(events)]
        found.append(unmasked(b"\n".join(frame(s, event_bytes) for s in named)))
    return found


def serve(listener: socket.socket, blast: Blast) -> None:
    """Until the client hangs up.

    Each round is one message on each socket and a ping on the last; the next but one begins when
    the pong is there. So the client always has work, and reads messages as single as in a scenario.
    """
    sockets: dict[int, tuple[socket.socket, list[bytes]]] = {}
    poll = select.epoll()
    for sessions in blast.tabs:
        connection, _ = listener.accept()
        connection.settimeout(STUCK_S)
        connection.recv(65_536)
        connection.sendall(WELCOME)
        prepared = messages(sessions, blast.events, blast.event_bytes)
        sockets[connection.fileno()] = (connection, prepared)
        poll.register(connection.fileno(), select.EPOLLIN)
    began = answered = 0
    try:
        while True:
            while began < answered + ROUNDS:
                _round(list(sockets.values()), began)
                began += 1
            for number, _ in poll.poll(STUCK_S):
                data = sockets[number][0].recv(65_536)
                if not data:
                    return
                answered += data.count(PONG_HEAD)
    except OSError:  # the client has gone
        return


def _round(sockets: Sequence[tuple[socket.socket, list[bytes]]], turn: int) -> None:
    for connection, prepared in sockets:
        connection.sendall(prepared[turn % len(prepared)])
    sockets[-1][0].sendall(unmasked(b"", PING))


def main() -> None:
    """Tells its port on the first line of stdout."""
    raise_descriptor_limit()
    blast = msgspec.json.decode(sys.stdin.buffer.readline(), type=Blast)
    with socket.create_server(("127.0.0.1", 0), backlog=4_096) as listener:
        print(listener.getsockname()[1], flush=True)
        listener.settimeout(STUCK_S)
        serve(listener, blast)


if __name__ == "__main__":
    main()
