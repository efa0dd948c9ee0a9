"""The publishing process: one message a credit, spread over its connections."""

import select
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import msgspec

from loadtest.peers.publisher import Spec, room_name, text_of


def spec(port: int, *, connections: int = 1, rooms: int = 3) -> Spec:
    template = f"<{room_name(0)} {text_of(0)}>".encode()
    return Spec(port=port, connections=connections, rooms=rooms, template=template)


@contextmanager
def publishing(wanted: Spec) -> Generator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "loadtest.peers.publisher", msgspec.json.encode(wanted).decode()]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stderr=pipe) as process:
        yield process


def tell(process: subprocess.Popen[bytes], count: int) -> None:
    assert process.stdin is not None
    process.stdin.write(b"." * count)
    process.stdin.flush()


def test_names_and_texts_keep_their_length() -> None:
    assert len(room_name(0)) == len(room_name(99_999))
    assert len(text_of(0)) == len(text_of(10**11)) == 200


def test_messages_go_to_the_rooms_in_turn() -> None:
    wanted = spec(1, rooms=2)
    assert wanted.request(3) == f"<{room_name(1)} {text_of(3)}>".encode()


def taken(links: list[socket.socket], size: int) -> bytes:
    """What comes over all of them, when it is this much."""
    found = b""
    while len(found) < size:
        readable, _, _ = select.select(links, [], [], 10)
        assert readable, f"{len(found)} of {size} bytes came"
        found += b"".join(link.recv(65_536) for link in readable)
    return found


def test_a_credit_is_a_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        wanted = spec(server.getsockname()[1], connections=2)
        process = stack.enter_context(publishing(wanted))
        links = [stack.enter_context(server.accept()[0]) for _ in range(2)]
        size = len(wanted.template)
        for numbers in (range(3), range(3, 7)):
            tell(process, len(numbers))
            found = taken(links, size * len(numbers))
            messages = {found[i : i + size] for i in range(0, len(found), size)}
            assert messages == set(map(wanted.request, numbers))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_refused_message_ends_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        process = stack.enter_context(publishing(spec(server.getsockname()[1])))
        link = stack.enter_context(server.accept()[0])
        tell(process, 1)
        link.recv(4096)
        link.sendall(b"-OOM command not allowed\r\n")
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert b"OOM" in process.stderr.read()
