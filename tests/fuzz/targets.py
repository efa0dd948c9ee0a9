"""What bytes are given to, and what must hold of it: one function for each target.

A target raises (or never returns) if its input is a finding; what it may raise it catches.
"""

import asyncio
import functools
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from gateway.agents.sse import SseDecoder, SseTooLarge
from gateway.auth.signature import SharedSecret
from gateway.auth.token import JwtAuth, mint_token
from gateway.broker.redis import replies
from gateway.broker.redis.stream import Stream
from gateway.broker.redis.wire import Limits, _Line
from gateway.errors import BrokerUnavailable
from gateway.runtime.gate import Gate, Replace
from protocol import codec
from protocol.codes import ERRORS
from protocol.errors import ProtocolError

Target = Callable[[bytes], None]
LIMIT = 1 << 20
SECRET = "a secret of more than thirty-two bytes"


def up(data: bytes) -> None:
    """A WebSocket message is frames, and errors that can be sent."""
    for frame in codec.decode_up(data, LIMIT):
        if isinstance(frame, ProtocolError):
            _sendable(frame)
        else:
            (again,) = codec.decode_up(codec.encode(frame), LIMIT)
            assert again == frame


def session_command(data: bytes) -> None:
    """The body of a POST is a command or an error."""
    try:
        codec.decode_session_command(data)
    except ProtocolError as error:
        _sendable(error)


def _sendable(error: ProtocolError) -> None:
    assert error.code in ERRORS
    frame = codec.error_frame(error)
    assert len(frame) < 2_000
    assert b"\n" not in frame
    codec.decode_down(frame)


_auth = JwtAuth(SharedSecret(SECRET))


def token(data: bytes) -> None:
    """A token is a grant or is refused: as it is, and as claims that were signed."""
    text = data.decode("latin-1")
    for tried in (text, text.removeprefix("{"), _signed(data)):
        with suppress(ProtocolError):
            _returned(_auth.authenticate(tried))


def _signed(claims: bytes) -> str:
    from joserfc import jws  # noqa: PLC0415 - beside the one use
    from joserfc.jwk import OctKey  # noqa: PLC0415

    key = OctKey.import_key(SECRET)
    return jws.serialize_compact({"alg": "HS256"}, claims, key, algorithms=["HS256"])


def _returned(coroutine: Any) -> Any:
    """Of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        return stopped.value
    raise AssertionError("it waits")


def sse(data: bytes) -> None:
    """Events are the same wherever the stream was cut."""
    at = data[0] if data else 0
    whole, cut = _events([data]), _events([data[:at], data[at : at + 1], data[at + 1 :]])
    assert whole == cut


def _events(pieces: list[bytes]) -> list[Any]:
    decoder = SseDecoder(max_event_bytes=4_096)
    found: list[Any] = []
    with suppress(SseTooLarge):
        for piece in pieces:
            found += decoder.feed(piece)
        return found + decoder.end()
    return ["too large"]


def gate(data: bytes) -> None:
    """The parts of a step's text are the same wherever it was cut."""
    settings, at = (data[0], data[1]) if len(data) > 1 else (0, 0)
    text = data[2:].decode(errors="replace").replace("\x01", "<think>").replace("\x02", "</think>")
    whole, cut = _parts(settings, [text]), _parts(settings, [text[:at], text[at:]])
    assert whole == cut
    assert _parts(settings, list(text)) == whole


def _parts(settings: int, pieces: list[str]) -> dict[int, tuple[str, str]]:
    made = Gate(
        preamble="hold" if settings & 1 else "show",
        marker="Final Answer:" if settings & 2 else None,
        opened=bool(settings & 4),
    )
    shown = [one for piece in pieces for one in made.feed(piece)]
    shown += made.call() if settings & 8 else []
    parts: dict[int, tuple[str, str]] = {}
    for one in (*shown, *made.end()):
        before = "" if isinstance(one, Replace) else parts.get(one.part, ("", ""))[1]
        parts[one.part] = (one.kind, before + one.text)
    return {index: part for index, part in parts.items() if part[1]}


def entries(data: bytes) -> None:
    """A log entry and a message of a channel are events, or damaged."""
    with suppress(ValueError):
        news = replies.news("s_1", data)
        assert all(isinstance(body, bytes) for body in news.bodies)
    first, _, rest = data.partition(b"|")
    count, _, text = rest.partition(b"|")
    entry = [b"1-0", [b"first", first, b"count", count, b"bodies", text]]
    with suppress(BrokerUnavailable):
        for after in (0, 5):
            found = replies.events([entry], after)
            assert all(seq > after for seq, _ in found)


class Pipe:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = False

    def __getattr__(self, name: str) -> Any:
        return self._nothing

    def _nothing(self, *_: Any, **__: Any) -> None: ...

    def abort(self) -> None:
        self.aborted = True


_loop = functools.cache(asyncio.new_event_loop)


def resp(data: bytes) -> None:
    """What a server says answers what was asked, in order, each once, or ends the connection."""
    _loop().run_until_complete(_answer(data))


async def _answer(data: bytes) -> None:
    left: list[Any] = []
    line = _Line(Limits(), left.append, lambda _: None)
    stream = line._stream = Stream(Pipe(), line._heard, line._lost)  # type: ignore[arg-type]
    answers: list[int] = []
    for number in range(3):
        line.ask(b"?", lambda _, number=number: answers.append(number))
    line._unsent.clear()
    half = len(data) // 2
    for piece in (data[:half], data[half:]):
        if not left:
            stream.data_received(piece)
    stream.abort(ConnectionError("over"))
    assert answers == [0, 1, 2]
    assert len(left) == 1


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (up, session_command, token, sse, gate, entries, resp)
}


def seeds(name: str) -> Iterator[bytes]:
    """Good inputs, made by the code itself."""
    frames = [vector["frame"] for vector in _vectors("frames.json")]
    match name:
        case "up" | "session_command":
            yield from (json.dumps(frame).encode() for frame in frames)
            yield b"\n".join(json.dumps(frame).encode() for frame in frames[:4])
        case "token":
            minted = mint_token(SECRET, subject="ann", tenant="acme", detail="full")
            yield minted.encode()
            yield msgspec.json.encode({"sub": "ann", "iat": 1, "exp": 2**40, "aud": ["a"]})
            yield b'{"sub":"a","iat":1,"exp":2,"agents":["x"],"sessions":["s"],"scope":"a b"}'
        case "sse":
            yield b"\x05data: one\r\nevent: x\rdata:two\n\n: comment\nid: 1\n\n"
            yield b"\x01\xef\xbb\xbfdata\n\ndata: \xff\n"
        case "gate":
            for settings in range(16):
                yield bytes([settings, 5]) + b"a <think>b</think> c Final Answer: d < </think>"
        case "entries":
            yield b"e_1 7 2 3\n" + b'{"type":"run.started"}\n{"type":"run.log"}'
            yield b'7|2|{"type":"run.started"}\n{"type":"run.log"}'
        case _:
            yield b"+OK\r\n$3\r\nabc\r\n*2\r\n:1\r\n$-1\r\n"
            yield b"-READONLY You can't write\r\n-MOVED 1 a:1\r\n%1\r\n+a\r\n_\r\n"
            yield b"*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\np\r\n"


def _vectors(name: str) -> list[dict[str, Any]]:
    from pathlib import Path  # noqa: PLC0415 - beside the one use

    folder = Path(__file__).parents[2] / "protocol" / "vectors"
    return json.loads((folder / name).read_text())
