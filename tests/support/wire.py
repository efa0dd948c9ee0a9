"""`Tab`: one page, as raw as it can be, that speaks the native protocol (docs/protocol.md).

It keeps every frame in the order it came and adds nothing of its own: no reconnect, no fold,
no acks. What the real clients do on top of the wire is tested with the real clients.
"""

import asyncio
import itertools
import json
import secrets
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeAlias

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

Frame: TypeAlias = dict[str, Any]
Wanted: TypeAlias = str | tuple[str, ...] | Callable[[Frame], bool]

RUN_ENDS = ("run.completed", "run.failed", "run.cancelled")
STALLS = 20
"""So often a busy machine may keep Redis from answering one command in time."""


def new_id(prefix: str) -> str:
    """A random id, as clients make them."""
    return f"{prefix}_{secrets.token_hex(6)}"


class Tab:
    """One WebSocket of one client; `async with Tab(url) as tab:` says hello and hangs up.

    `frames` is everything that came, oldest first; an index into it (`mark()`) says where a
    later wait begins. Waits fail at once when the connection closes.
    """

    def __init__(
        self,
        url: str,
        *,
        client: str | None = None,
        token: str | None = None,
        sessions: Iterable[Frame] = (),
        hello: bool = True,
        **connect_options: Any,
    ) -> None:
        self.url = url
        self.client = client or new_id("tab")
        self.frames: list[Frame] = []
        self.messages = 0  # WebSocket messages that carried the frames
        self.close_code: int | None = None
        self._ended = False
        self._hello: Frame | None = None
        if hello:
            self._hello = {"type": "hello", "client": self.client}
            if token is not None:
                self._hello["token"] = token
            if sessions := list(sessions):
                self._hello["sessions"] = sessions
        self._connect_options = connect_options
        self._news = asyncio.Condition()
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def open(self) -> Self:
        """Connect, say hello (unless told not to) and wait for the welcome."""
        options: dict[str, Any] = {
            "subprotocols": [Subprotocol("agent-gateway.v1")],
            "max_size": None,
            "compression": None,
            "proxy": None,
            **self._connect_options,
        }
        self._socket = await connect(self.url, **options)
        # Owned by this tab: close() awaits it.
        self._reader = asyncio.get_running_loop().create_task(self._read(self._socket))
        if self._hello is not None:
            await self.send(self._hello)
            await self.wait_for(("welcome", "error"))
        return self

    async def close(self) -> None:
        """Hang up as a closing page does; harmless when already closed."""
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            await self._reader

    async def cut(self) -> None:
        """Lose the connection without a closing handshake."""
        assert self._socket is not None
        self._socket.transport.abort()
        await self.wait_closed()

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                assert isinstance(text, str), "a binary message"
                self.messages += 1
                self.frames += [json.loads(line) for line in text.split("\n")]
                async with self._news:
                    self._news.notify_all()
        except ConnectionClosed:
            pass  # the code tells
        finally:
            self.close_code = socket.close_code
            self._ended = True
            async with self._news:
                self._news.notify_all()

    async def send_raw(self, message: str | bytes) -> None:
        """Send one WebSocket message as it is."""
        assert self._socket is not None
        await self._socket.send(message)

    async def send(self, *frames: Frame) -> None:
        """Send frames in one WebSocket message."""
        lines = (json.dumps(f, ensure_ascii=False, separators=(",", ":")) for f in frames)
        await self.send_raw("\n".join(lines))

    def mark(self) -> int:
        """Where the next frame will be: the `since` of a later wait."""
        return len(self.frames)

    def find(self, wanted: Wanted, *, since: int = 0, **fields: Any) -> list[Frame]:
        """The frames that came and fit: a type, one of several types, or a predicate."""

        def fits(frame: Frame) -> bool:
            if callable(wanted):
                return wanted(frame)
            return frame["type"] in ((wanted,) if isinstance(wanted, str) else wanted)

        return [
            frame
            for frame in itertools.islice(self.frames, since, None)
            if fits(frame) and all(frame.get(key) == value for key, value in fields.items())
        ]

    async def wait_for(
        self, wanted: Wanted, *, since: int = 0, within: float = 10, **fields: Any
    ) -> Frame:
        """The first frame that fits, `since` a mark; it may have come already.

        Raises:
            AssertionError: none came in time, or the connection closed before.
        """
        try:
            async with asyncio.timeout(within), self._news:
                while not (found := self.find(wanted, since=since, **fields)):
                    if self._reader is None or self._ended:
                        raise AssertionError(self._report(wanted, fields, "not connected"))
                    since = self.mark()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(self._report(wanted, fields, f"not within {within} s")) from None
        return found[0]

    async def wait_closed(self, within: float = 15) -> int | None:
        """The close code; 1006 when the connection broke."""
        assert self._reader is not None
        async with asyncio.timeout(within):
            await asyncio.shield(self._reader)
        return self.close_code

    def _report(self, wanted: Wanted, fields: Frame, problem: str) -> str:
        last = "\n".join(json.dumps(frame)[:300] for frame in self.frames[-15:])
        return f"{self.client} waits for {wanted} {fields}: {problem} ({self.close_code}):\n{last}"

    async def ask(self, frame: Frame, *, within: float = 10) -> Frame:
        """Send a command, with a random id unless it has one, and return its answer.

        That is an `ok`, a `subscribed` or an `error`.
        """
        frame = {"id": new_id("k"), **frame}
        since = self.mark()
        await self.send(frame)
        answers = ("ok", "subscribed", "error")
        return await self.wait_for(answers, since=since, within=within, id=frame["id"])

    async def must(self, frame: Frame, *, within: float = 10) -> Frame:
        """`ask`, again while Redis stands still, and the answer is no error."""
        frame = {"id": new_id("k"), **frame}
        answer = await self.ask(frame, within=within)
        for _ in range(STALLS):
            if answer.get("code") != "broker.unavailable":
                break
            await asyncio.sleep(0.2)
            answer = await self.ask(frame, within=within)
        assert answer["type"] != "error", f"{frame} was refused: {answer}"
        return answer

    async def create(self, agent: str = "scripted", **fields: Any) -> str:
        """Create a session and return its id."""
        answer = await self.must({"type": "session.create", "agent": agent, **fields})
        return answer["session"]

    async def subscribe(self, session: str, **fields: Any) -> Frame:
        """Subscribe and return the `subscribed` frame."""
        return await self.must({"type": "session.subscribe", "session": session, **fields})

    async def message(self, session: str, content: Any, **fields: Any) -> Frame:
        """Send a user message and return its `ok`."""
        frame = {"type": "message.send", "session": session, "content": content, **fields}
        return await self.must(frame)

    async def script(self, session: str, *steps: Frame, **fields: Any) -> Frame:
        """Send a message that is a list of steps for the `scripted` agent."""
        return await self.message(session, json.dumps(steps), **fields)

    async def answer(self, call: Frame, output: Any) -> Frame:
        """Claim a requested client tool call and deliver its output; the `ok` of the result."""
        about = {"session": call["session"], "call": call["call"]}
        await self.must({"type": "tool.claim", **about})
        return await self.must({"type": "tool.result", **about, "output": output})

    async def run_end(self, session: str, run: str, *, within: float = 20) -> Frame:
        """Wait for the end of a run and return the event that tells it."""
        return await self.wait_for(RUN_ENDS, within=within, session=session, run=run)

    def events(self, session: str) -> list[Frame]:
        """The session's events so far; only frames with a `time` are events."""
        return [f for f in self.frames if f.get("session") == session and "time" in f]

    def position(self, session: str) -> Frame:
        """Where a resume begins: `session`, `epoch`, `after`, as a subscription wants them."""
        seen = [f for f in self.frames if f.get("session") == session]
        epoch = [f["epoch"] for f in seen if f["type"] == "subscribed"][-1]
        moves = [f for f in seen if f["type"] in ("subscribed", "cursor") or "time" in f]
        return {"session": session, "epoch": epoch, "after": moves[-1]["seq"]}

    def assert_dense(self, session: str) -> list[Frame]:
        """From each `subscribed` on every seq came once and in order; returns the events.

        For subscriptions with detail `full` only: others have holes.
        """
        cursor: int | None = None
        for frame in self.frames:
            if frame.get("session") != session:
                continue
            if frame["type"] == "subscribed":
                cursor = frame["seq"]
            elif "time" in frame:
                assert cursor is not None, f"an event before any subscribed: {frame}"
                first = frame.get("from_seq", frame["seq"])
                assert first == cursor + 1, f"after seq {cursor} came {frame}"
                cursor = frame["seq"]
        return self.events(session)

    def text(self, session: str, run: str | None = None, kind: str = "text") -> str:
        """What the agent said in deltas of one kind, of one run or of all."""
        events = self.events(session)
        messages = {
            event["message"]
            for event in events
            if event["type"] == "message.started" and run in (None, event["run"])
        }
        return "".join(
            event["delta"]
            for event in events
            if event["type"] == "message.delta"
            and event["kind"] == kind
            and event["message"] in messages
        )
