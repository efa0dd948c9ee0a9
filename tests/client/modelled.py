"""A model of the gateway, of the network and of a page around one connection machine.

The gateway keeps logs, remembers commands and supersedes old sockets; the network delivers when
it is told to, loses, doubles and merges; the page folds what the machine gives it. After every
effect the page must show exactly what the log said at its cursor.
"""

import itertools
import json
import math
from collections import Counter
from typing import Any, TypeAlias

from gateway.client import steps
from gateway.client.connection import Connection
from gateway.client.subscription import Wishes
from protocol.commands import MessageSend

Frame: TypeAlias = dict[str, Any]

TIME = "2026-01-01T00:00:00.000Z"
SETTLING = 500


class Log:
    """A session's log: texts that were appended, as a page of `detail` sees them."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.incarnation = 1
        self.base = 0  # events up to here are trimmed
        self.texts: list[tuple[str, bool]] = []  # by seq: the text, and whether `steps` sees it

    @property
    def epoch(self) -> str:
        return f"e_{self.incarnation}"

    @property
    def seq(self) -> int:
        return len(self.texts)

    def append(self, visible: bool) -> None:
        self.texts.append((f"<{self.incarnation}.{self.seq + 1}>", visible))

    def lose(self, tail: int) -> None:
        """A failover lost the tail, and resume with it."""
        self.texts = self.texts[: max(0, self.seq - tail)]
        self.incarnation += 1
        self.base = self.seq

    def text(self, seq: int, full: bool) -> str:
        return "".join(text for text, visible in self.texts[:seq] if full or visible)

    def event(self, first: int, last: int, full: bool) -> Frame:
        """The events `first` to `last`, as one frame."""
        delta = "".join(text for text, seen in self.texts[first - 1 : last] if full or seen)
        frame: Frame = {"type": "message.delta", "session": self.session, "seq": last}
        merged: Frame = {"from_seq": first} if first < last else {}
        return {**frame, **merged, "time": TIME, "delta": delta}


class Socket:
    """One WebSocket as the gateway has it, and what is under way on it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.up: list[Frame] = []
        self.down: list[Frame] = []
        self.draining = False
        self.ended: int | None = None  # closed by the gateway with this code
        self.cursors: dict[str, tuple[str, int, bool]] = {}  # session -> epoch, seq, full


class World:
    """All of it. Methods are what may happen; `machine` is under test."""

    def __init__(self, merging: "Merging") -> None:
        self.now = 0.0
        self.ids = itertools.count(1)
        self.machine = Connection("tab", random=lambda: 0.5, make_id=self.new_id)
        self.merging = merging
        self.logs = {name: Log(name) for name in ("s_1", "s_2")}
        self.opening: list[int] = []
        self.sockets: dict[int, Socket] = {}
        self.executed: Counter[str] = Counter()
        self.issued: list[str] = []
        self.answered: Counter[str] = Counter()
        self.wanted: dict[str, bool] = {}  # session -> detail full
        self.views: dict[str, Frame] = {}  # session -> epoch, seq, text as the page has them
        self.step(steps.Start())

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{next(self.ids)}"

    # --- the page

    def step(self, taken: steps.Input) -> None:
        for effect in self.machine.step(taken, self.now):
            self.do(effect)

    def do(self, effect: steps.Effect) -> None:
        match effect:
            case steps.Connect(number):
                self.opening.append(number)
            case steps.Send(number, text):
                self.sockets[number].up += [json.loads(line) for line in text.split(b"\n")]
            case steps.Close(number):
                self.sockets.pop(number, None)
                self.opening = [one for one in self.opening if one != number]
            case steps.Answered(command, frame):
                assert json.loads(frame)["type"] == "ok"
                self.answered[command] += 1
            case steps.Reset(session, epoch, seq, _, state):
                self.views[session] = {"epoch": epoch, "seq": seq, **json.loads(bytes(state))}
            case steps.Received(session, seq, frame):
                self.fold(session, seq, json.loads(frame))
            case _:
                pass

    def fold(self, session: str, seq: int, event: Frame) -> None:
        view, log = self.views[session], self.logs[session]
        first = event.get("from_seq", event["seq"])
        assert first > view["seq"], "applied twice"
        full = self.machine.subscriptions[session].granted == "full"
        assert not full or first == view["seq"] + 1, "a hole"
        view["seq"] = seq
        view["text"] += event["delta"]
        if view["epoch"] == log.epoch:
            assert view["text"] == log.text(seq, full)

    def subscribe(self, session: str, full: bool) -> None:
        """Listen; at another detail anew, for its state is another one."""
        if self.wanted.get(session) == full:
            return
        self.unsubscribe(session)
        self.wanted[session] = full
        self.step(steps.Subscribe(session, Wishes(detail="full" if full else "steps")))

    def unsubscribe(self, session: str) -> None:
        if self.wanted.pop(session, None) is not None:
            self.views.pop(session, None)
            self.step(steps.Unsubscribe(session))

    def command(self, session: str) -> None:
        command = self.new_id("m")
        self.issued.append(command)
        self.step(steps.Issue(MessageSend(id=command, session=session, content="hi")))

    def tick(self) -> None:
        if not math.isinf(self.machine.deadline):
            self.now = max(self.now, self.machine.deadline)
            self.step(steps.Tick())

    # --- the network

    def connect(self, succeeds: bool) -> None:
        """The oldest attempt to open a socket ends."""
        if not self.opening:
            return
        number = self.opening.pop(0)
        if not succeeds:
            self.step(steps.Closed(number, 1006))
            return
        self.sockets[number] = Socket(number)
        self.step(steps.Opened(number))

    def cut(self, number: int) -> None:
        del self.sockets[number]
        self.step(steps.Closed(number, 1006))

    def deliver(self, number: int, count: int) -> None:
        """Some of what is under way arrives, in one message; then the close, if it is closed."""
        socket = self.sockets[number]
        now, socket.down = socket.down[:count], socket.down[count:]
        if now:
            self.step(steps.Text(number, "\n".join(map(json.dumps, now)).encode()))
        elif socket.ended is not None and number in self.sockets:
            del self.sockets[number]
            self.step(steps.Closed(number, socket.ended))

    # --- the gateway

    def hear(self, number: int) -> None:
        """The gateway takes everything that this socket said."""
        socket = self.sockets[number]
        heard, socket.up = socket.up, []
        for frame in heard:
            if socket.ended is None:
                self.take(socket, frame)

    def take(self, socket: Socket, frame: Frame) -> None:
        match frame["type"]:
            case "hello":
                for other in self.sockets.values():
                    if other.number < socket.number and other.ended is None:
                        other.ended = 4409
                socket.down.append({"type": "welcome", "limits": {"max_frame_bytes": 1 << 20}})
                for wish in frame.get("sessions", ()):
                    self.answer_subscription(socket, wish)
            case "session.subscribe":
                self.answer_subscription(socket, frame)
            case "session.unsubscribe":
                socket.cursors.pop(frame["session"], None)
                socket.down.append({"type": "ok", "id": frame["id"]})
            case "message.send":
                self.execute(socket, frame)
            case "ping":
                socket.down.append({"type": "pong"})
            case _:
                assert frame["type"] in ("ack", "pong"), frame

    def execute(self, socket: Socket, frame: Frame) -> None:
        command = frame["id"]
        echo = {"id": command, "session": frame["session"]}
        if socket.draining:
            refusal = {"code": "server.draining", "message": "", "retryable": True}
            socket.down.append({"type": "error", **echo, **refusal})
            return
        if not self.executed[command]:
            self.executed[command] += 1
            self.logs[frame["session"]].append(visible=True)
        socket.down.append({"type": "ok", **echo})

    def answer_subscription(self, socket: Socket, wish: Frame) -> None:
        log = self.logs[wish["session"]]
        full = wish["detail"] == "full"
        after = wish.get("after", -1)
        recovered = wish.get("epoch") == log.epoch and log.base <= after <= log.seq
        seq = after if recovered else log.seq
        socket.cursors[log.session] = (log.epoch, seq, full)
        echo: Frame = {"id": wish["id"]} if "id" in wish else {}
        self.tell(socket, log, seq, full=full, recovered=recovered, **echo)
        if recovered:
            self.pump(socket.number)
            socket.down.append({"type": "cursor", "session": log.session, "seq": log.seq})

    def tell(
        self, socket: Socket, log: Log, seq: int, *, full: bool, recovered: bool, **echo: Any
    ) -> None:
        frame: Frame = {
            "type": "subscribed",
            "session": log.session,
            "epoch": log.epoch,
            "seq": seq,
            "recovered": recovered,
            "detail": "full" if full else "steps",
            **echo,
        }
        state: Frame = {} if recovered else {"state": {"text": log.text(seq, full)}}
        socket.down.append({**frame, **state})

    def pump(self, number: int) -> None:
        """News goes out on a socket, each event once, neighbours perhaps merged."""
        socket = self.sockets[number]
        if socket.ended is not None:
            return
        for session, (epoch, after, full) in list(socket.cursors.items()):
            cursor, log = after, self.logs[session]
            if epoch != log.epoch:
                self.tell(socket, log, log.seq, full=full, recovered=False)
                socket.cursors[session] = (log.epoch, log.seq, full)
                continue
            while cursor < log.seq:
                last = min(log.seq, cursor + self.merging())
                seen = range(cursor + 1, last + 1)
                if full or all(log.texts[one - 1][1] for one in seen):
                    socket.down.append(log.event(cursor + 1, last, full))
                else:  # hidden ones are left out, the others go one by one
                    visible = [one for one in seen if log.texts[one - 1][1]]
                    socket.down += [log.event(one, one, full) for one in visible]
                cursor = last
            socket.cursors[session] = (epoch, cursor, full)

    # --- the end

    def settle(self) -> None:
        """Nothing goes wrong any more: everything that is wanted must come about."""
        for _ in range(SETTLING):
            if self.quiet():
                break
            while self.opening:
                self.connect(succeeds=True)
            for number in list(self.sockets):
                for act in (self.hear, self.pump):
                    if number in self.sockets:
                        act(number)
                if number in self.sockets:
                    self.deliver(number, 1_000)
            if not self.quiet() and self.waiting():
                self.tick()
        assert self.quiet(), "it never settles"

    def waiting(self) -> bool:
        """Whether only time can move it."""
        return not self.opening and not any(
            s.up or s.down or s.ended is not None for s in self.sockets.values()
        )

    def quiet(self) -> bool:
        """Whether nothing is under way, and nothing is wanted that is not there."""
        if self.machine.status != "open" or len(self.sockets) != 1 or self.opening:
            return False
        (socket,) = self.sockets.values()
        if socket.up or socket.down or socket.draining or self.machine.pending:
            return False
        return all(self.shown(session) == self.true(session) for session in self.wanted)

    def shown(self, session: str) -> tuple[Any, ...]:
        view = self.views.get(session, {})
        return view.get("epoch"), view.get("text")

    def true(self, session: str) -> tuple[Any, ...]:
        log = self.logs[session]
        return log.epoch, log.text(log.seq, self.wanted[session])

    def check(self) -> None:
        """What is promised of the whole life."""
        assert dict(self.answered) == dict.fromkeys(self.issued, 1)
        assert +self.executed == Counter(self.issued)


class Merging:
    """How many neighbouring events the gateway puts into one frame; the test sets it."""

    def __init__(self) -> None:
        self.count = 1

    def __call__(self) -> int:
        return self.count
