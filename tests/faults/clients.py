"""`Client`: a recording client that lives through faults as our real clients do.

It reconnects (next address, jittered backoff), resumes every session by epoch and cursor, sends
unanswered commands again with the same id, repeats refused ones that are retryable, acknowledges if
it has a window, moves on `goaway`, and stops at a final close code. Raw lines go into its `Record`;
a fold of what came says what its page would show. It corrects nothing: a duplicate is recorded, and
folded twice.
"""

import asyncio
import json
import random
import time
from contextlib import suppress
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from protocol.codec import decode_event
from protocol.state import State, newest
from protocol.values import TextPart
from tests.faults.record import DEV, Frame, Log, Record
from tests.faults.sightings import folded
from tests.support.wire import RUN_ENDS, new_id

FINAL_CODES = range(4400, 4450)
BACKOFF_S, LONGEST_BACKOFF_S = 0.05, 0.5
RETRY_S = 0.1
MOST_MESSAGES = 100
"""A state that is given holds so many, unless the subscription says another number."""
LOST = (OSError, ConnectionClosed, InvalidHandshake, EOFError, TimeoutError)

_encode = msgspec.json.Encoder().encode


class Client:
    """One tab over all its connections; `async with Client(url, …)`.

    It connects to the first of `urls`, and to the next after each loss.
    """

    def __init__(
        self,
        *urls: str,
        client: str | None = None,
        token: str | None = None,
        principal: str = DEV,
        window: int | None = None,
        silence_s: float | None = None,
    ) -> None:
        self.urls = list(urls)
        self.record = Record(client or new_id("tab"), principal)
        self.at = 0  # which of the urls
        self.close_codes: list[int | None] = []
        self.welcomed_at: list[float] = []  # each connection that was, by the monotonic clock
        self.states: dict[str, State] = {}
        self.events: list[Frame] = []
        self.local_address: str | None = None  # where it connects from next
        self.acknowledges = window is not None
        self._token = token
        self._window = window
        self._silence_s = silence_s  # so long without a frame is a dead connection
        # session -> its subscription, epoch and after included once known
        self._wanted: dict[str, Frame] = {}
        self._unanswered: dict[str, tuple[Frame, asyncio.Future[Frame]]] = {}
        # session -> the `subscribed`, or the `error`, that its `follow` waits for
        self._begun: dict[str, Frame] = {}
        self._runs: set[str] = set()  # all it was told of
        self._socket: ClientConnection | None = None
        self._away = asyncio.Event()  # set: it may be online
        self._away.set()
        self._news = asyncio.Condition()
        self._random = random.Random(self.record.client)
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.record.client

    @property
    def connected(self) -> bool:
        """Whether it has been welcomed and not lost its socket since."""
        return self._socket is not None

    async def __aenter__(self) -> Self:
        # Owned by this client: __aexit__ awaits it.
        self._task = asyncio.get_running_loop().create_task(self._live())
        await self.until(lambda: self.connected, what="connected")
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    # --- its connections

    async def _live(self) -> None:
        """Connects again and again, until a final code."""
        backoff = BACKOFF_S
        while True:
            await self._away.wait()
            began = len(self.record.connections)
            with suppress(*LOST):
                await self._connection(self.urls[self.at % len(self.urls)])
            if len(self.record.connections) > began and self.close_codes[-1] in FINAL_CODES:
                return
            if len(self.record.connections) > began:
                backoff = BACKOFF_S
            self.at += 1
            await asyncio.sleep(self._random.uniform(0, backoff))
            backoff = min(2 * backoff, LONGEST_BACKOFF_S)

    async def _connection(self, url: str) -> None:
        socket = await connect(
            url,
            subprotocols=[Subprotocol("agent-gateway.v1")],
            max_size=None,
            compression=None,
            proxy=None,
            open_timeout=3,
            close_timeout=0.2,
            ping_interval=None,
            local_addr=(self.local_address, 0) if self.local_address else None,
        )
        lines: list[str] = []
        self.record.connections.append(lines)
        self.close_codes.append(None)
        try:
            await self._send(socket, self._hello())
            while True:
                async with asyncio.timeout(self._silence_s):
                    message = await socket.recv()
                assert isinstance(message, str), "a binary message"
                for line in message.split("\n"):
                    lines.append(line)
                    await self._frame(socket, line)
                await self._acknowledge(socket, message)
                await self._notify()
        except TimeoutError:  # nobody is there to say goodbye to
            socket.transport.abort()
            raise
        finally:
            self._socket = None
            await socket.close()
            self.close_codes[-1] = socket.close_code
            await self._notify()

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    def _hello(self) -> Frame:
        hello: Frame = {"type": "hello", "client": self.name}
        if self._token is not None:
            hello["token"] = self._token
        if self._wanted:
            hello["sessions"] = list(self._wanted.values())
        return hello

    async def _send(self, socket: ClientConnection, *frames: Frame) -> None:
        await socket.send("\n".join(json.dumps(frame) for frame in frames))

    async def _frame(self, socket: ClientConnection, line: str) -> None:
        frame: Frame = json.loads(line)
        kind = frame["type"]
        if "run" in frame:
            self._runs.add(frame["run"])
        if kind == "welcome":
            self._socket = socket
            self.welcomed_at.append(time.monotonic())
            if self._unanswered:
                await self._send(socket, *(frame for frame, _ in self._unanswered.values()))
        elif kind == "subscribed":
            self._subscribed(frame)
        elif kind == "cursor":
            self._wanted[frame["session"]]["after"] = frame["seq"]
            self.states[frame["session"]].seq = frame["seq"]
        elif kind == "goaway":
            await asyncio.sleep(frame["reconnect_after_ms"] / 1000)
            await socket.close(1000)
        elif "time" in frame:
            self._event(frame, line)
        elif kind == "error" and frame.get("session") in self._wanted:
            await self._not_subscribed(socket, frame)
        if kind in ("ok", "error") and frame.get("id") in self._unanswered:
            _, answer = self._unanswered.pop(frame["id"])
            if not answer.done():
                answer.set_result(frame)

    def _subscribed(self, frame: Frame) -> None:
        session = frame["session"]
        self._begun[session] = frame
        wanted = self._wanted.setdefault(session, {"session": session})
        wanted |= {"epoch": frame["epoch"], "after": frame["seq"]}
        if "state" in frame:
            self.states[session] = msgspec.convert(frame["state"], State)
        else:
            self.states.setdefault(session, State(session=session, epoch=frame["epoch"]))

    async def _not_subscribed(self, socket: ClientConnection, error: Frame) -> None:
        """An error that names a session and answers no command of ours."""
        session, id_ = error["session"], error.get("id")
        if id_ in self.record.sent or not (id_ is None or id_.startswith("sub_")):
            return
        if error["retryable"]:
            await asyncio.sleep(RETRY_S)
            await self._subscribe(socket, session)
        else:
            self._begun.setdefault(session, error)

    async def _subscribe(self, socket: ClientConnection, session: str) -> None:
        frame = {"type": "session.subscribe", "id": new_id("sub")}
        await self._send(socket, {**frame, **self._wanted[session]})

    def _event(self, frame: Frame, line: str) -> None:
        session = frame["session"]
        self.events.append(frame)
        if (wanted := self._wanted.get(session)) is None:
            return  # recorded; the checker tells
        wanted["after"] = frame["seq"]
        event, state = decode_event(line), self.states[session]
        if event is None:
            state.seq = frame["seq"]
        else:
            state.apply(event, frame["seq"])

    async def _acknowledge(self, socket: ClientConnection, message: str) -> None:
        if not self.acknowledges or '"time"' not in message:
            return
        acks = [
            {"type": "ack", "session": session, "seq": wanted["after"]}
            for session, wanted in self._wanted.items()
            if wanted.get("after")
        ]
        if acks:
            await self._send(socket, *acks)

    async def catch_up(self) -> None:
        """Acknowledges what it has, and from now on whatever comes."""
        self.acknowledges = True
        assert self._socket is not None, "not connected"
        await self._acknowledge(self._socket, '"time"')

    # --- faults

    @property
    def connections(self) -> int:
        """How many it has had: the mark that `back` compares with."""
        return len(self.record.connections)

    async def cut(self) -> int:
        """Its socket breaks, and it comes back by itself; returns the mark for `back`."""
        socket = self._socket
        assert socket is not None, "not connected"
        mark = self.connections
        socket.transport.abort()
        await self.until(lambda: self._socket is not socket, what="the loss")
        return mark

    async def go_offline(self) -> None:
        """Its socket breaks, and it does not try again before `go_online`."""
        self._away.clear()
        await self.cut()

    def go_online(self) -> None:
        self._away.set()

    async def back(self, mark: int, *, within: float = 10) -> None:
        """Returns when it is connected anew; `mark` is `connections` from before the loss."""
        await self.until(
            lambda: self.connected and self.connections > mark, within=within, what="back again"
        )

    # --- what a page does

    async def command(self, frame: Frame, *, within: float = 20) -> Frame:
        """The answer to a command, over any number of connections and retryable refusals."""
        frame = {"id": new_id("k"), **frame}
        self.record.sent.setdefault(frame["id"], frame)
        try:
            async with asyncio.timeout(within):
                while True:
                    answer = await self._ask(frame)
                    if not answer.get("retryable"):
                        return answer
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            raise AssertionError(f"{self.name}: no answer to {frame} within {within} s") from None
        finally:
            self._unanswered.pop(frame["id"], None)

    async def _ask(self, frame: Frame) -> Frame:
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._unanswered[frame["id"]] = frame, answer
        if self._socket is not None:
            with suppress(ConnectionClosed):  # it is sent again after the reconnect
                await self._send(self._socket, frame)
        return await answer

    async def must(self, frame: Frame, *, within: float = 20) -> Frame:
        """`command`, and the answer is no error."""
        answer = await self.command(frame, within=within)
        assert answer["type"] != "error", f"{frame} was refused: {answer}"
        return answer

    async def create(self, agent: str = "scripted", **fields: Any) -> str:
        """A session of its own, followed in full."""
        answer = await self.must({"type": "session.create", "agent": agent, **fields})
        tools = [tool["name"] for tool in fields.get("tools", ())]
        await self.follow(answer["session"], **({"tools": tools} if tools else {}))
        return answer["session"]

    async def follow(self, session: str, **options: Any) -> Frame:
        """Subscribes in full, now and after every reconnect; the first answer to it."""
        wanted = {"session": session, "detail": "full", **options}
        if self._window is not None:
            wanted["window"] = self._window
        self._wanted[session] = wanted  # a reconnect in between subscribes too
        self._begun.pop(session, None)
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._subscribe(self._socket, session)
        await self.until(lambda: session in self._begun, what=f"subscribed to {session}")
        return self._begun[session]

    async def fire(self, *frames: Frame) -> None:
        """Sends commands, all in one message, and does not wait for their answers."""
        for frame in frames:
            self.record.sent.setdefault(frame["id"], frame)
        assert self._socket is not None, "not connected"
        await self._send(self._socket, *frames)

    async def answers(self, id_: str, count: int = 1) -> list[Frame]:
        """All answers to a command, once there are so many."""
        got: list[Frame] = []

        def enough() -> bool:
            got[:] = self.record.answers().get(id_, [])
            return len(got) >= count

        await self.until(enough, what=f"{count} answers to {id_}")
        return got

    async def send(self, session: str, content: Any, **fields: Any) -> Frame:
        """A user message; its `ok`."""
        frame = {"type": "message.send", "session": session, "content": content, **fields}
        return await self.must(frame)

    async def tool_result(self, call: Frame, output: Any, *, claim: bool = True) -> Frame:
        """Claims a requested call and delivers its output; the answer to the result."""
        about = {"session": call["session"], "call": call["call"]}
        if claim:
            await self.must({"type": "tool.claim", **about})
        return await self.command({"type": "tool.result", **about, "output": output})

    # --- what a test waits for

    async def until(self, condition: Any, *, within: float = 20, what: str = "") -> None:
        """Waits for a condition that a frame or a change of the connection may make true."""
        try:
            async with asyncio.timeout(within), self._news:
                await self._news.wait_for(condition)
        except TimeoutError:
            last = "\n".join(json.dumps(event)[:200] for event in self.events[-8:])
            text = f"{self.name}: not within {within} s: {what} ({self.close_codes})\n{last}"
            raise AssertionError(text) from None

    def seen(self, *kinds: str, **fields: Any) -> list[Frame]:
        """The events of these types and with these fields that came."""
        return [
            event
            for event in self.events
            if event["type"] in kinds and all(event.get(k) == v for k, v in fields.items())
        ]

    async def event(self, *kinds: str, within: float = 20, **fields: Any) -> Frame:
        """The first such event, waited for."""
        await self.until(
            lambda: self.seen(*kinds, **fields), within=within, what=f"{kinds} {fields}"
        )
        return self.seen(*kinds, **fields)[0]

    async def run_end(self, run: str, *, within: float = 30) -> Frame:
        """The event that ends a run; its type and run, if only a state has told of it."""
        await self.until(lambda: self._end_of(run), within=within, what=f"the end of {run}")
        end = self._end_of(run)
        assert end is not None, "it was awaited"
        return end

    def _end_of(self, run: str) -> Frame | None:
        if seen := self.seen(*RUN_ENDS, run=run):
            return seen[0]
        known = [state.run_of(run) for state in self.states.values()]
        over = [one for one in known if one is not None and f"run.{one.status}" in RUN_ENDS]
        return {"type": f"run.{over[0].status}", "run": run} if over else None

    async def deltas(self, count: int, *, within: float = 20) -> None:
        """Returns when so many more deltas came, or its runs have ended.

        A producer that stood still says all that is due at once, and that in few deltas.
        """
        begun = len(self.seen("message.delta"))

        def enough() -> bool:
            came = len(self.seen("message.delta")) >= begun + count
            return came or (bool(self._runs) and all(map(self._end_of, self._runs)))

        await self.until(enough, within=within, what=f"{count} more deltas")

    def cursor(self, session: str) -> tuple[str, int]:
        """The epoch and seq it has read to."""
        wanted = self._wanted[session]
        return wanted.get("epoch", ""), wanted.get("after", 0)

    def following(self) -> list[str]:
        """The sessions it is subscribed to, or wants to be."""
        return list(self._wanted)

    def text(self, session: str) -> str:
        """What its page shows of the agent's answers."""
        return "".join(
            part.text
            for message in self.states[session].messages
            if message.role == "assistant"
            for part in message.parts
            if isinstance(part, TextPart)
        )

    def assert_folded(self, log: Log) -> None:
        """Its page shows what the log says; only for a log that is kept from seq 1.

        A page that was given the state holds the newest messages, one that has followed from the
        start holds all: what is compared is what both must have.
        """
        whole, page = folded(log, log.head), self.states[log.session]
        held = len(page.messages) if page.more else MOST_MESSAGES
        expected, shown = _comparable(whole, held), _comparable(page, held)
        wrong = {k: (expected[k], shown[k]) for k in expected if expected[k] != shown[k]}
        assert not wrong, f"{self.name} shows of {log.session} what is not stored: {wrong}"


def _comparable(state: State, messages: int) -> Frame:
    """Its newest messages and what goes with them.

    Not the decided approvals that belong to no call: they go when the state is cut after their run.
    """
    state = newest(state, messages)
    open_ = {k: a for k, a in state.approvals.items() if a.decision is None or a.call}
    return json.loads(_encode(msgspec.structs.replace(state, approvals=open_)))
