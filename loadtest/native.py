"""The gateway's own protocol, as the load generator speaks it (docs/protocol.md).

`hear` decodes every frame and is for beginnings and ends; `follow` only searches a buffer for the
seqs, for acks, and is for the time between.
"""

import math
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from loadtest.errors import LoadError
from loadtest.frames import upgrade
from loadtest.tab import Place, Tab

EVENT = b',"time":"'
"""Stands in every event once, and in no other frame but a `subscribed` with a state."""
WINDOW, ACK_FRAMES, ACK_S = 512, 32, 0.25
_SEQ = re.compile(rb'"session":"([^"]+)","seq":(\d+)')
_FROM = re.compile(rb'"seq":(\d+),"from_seq":(\d+)')
REMEDIES = {
    "rate.limited": " Start it with --frames-per-s 1000000 --frames-burst 1000000,"
    " or lower --outstanding.",
    "agent.not_found": " Start it with --agents loadtest.agent:load.",
}
"""A refusal's code -> what to do about it."""
LATE = ("tool.closed", "run.not_active")
"""What a client is told that was about to answer when the run ended."""

_DECODER: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
ENDS = ("run.completed", "run.failed", "run.cancelled")
TOOL = {
    "name": "load",
    "parameters": {"type": "object"},
    "idempotent": True,
    "timeout_ms": 30_000,
}


class Native:
    """How tabs open, resume and listen. `acks`: promise a window and acknowledge as pages do."""

    event = EVENT

    def __init__(
        self,
        *,
        agent: str = "load",
        acks: bool = True,
        tools: bool = False,
        token: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agent = agent
        self._acks = acks
        self._tools = tools
        self._token = token
        self._clock = clock
        # (when, tab, place): acks that are due then, oldest first
        self._later: deque[tuple[float, Tab, Place]] = deque()

    # --- what goes up

    def request(self, host: str, path: str) -> bytes:
        """The handshake."""
        return upgrade(host, path, "agent-gateway.v1")

    def hello(self, tab: Tab) -> bytes:
        """Hello; a tab that resumes names its subscriptions."""
        frame: dict[str, Any] = {"type": "hello", "client": tab.client}
        if self._token:
            frame["token"] = self._token
        if tab.resuming:
            frame["sessions"] = [self._subscription(p, resume=True) for p in tab.places.values()]
        return _encode(frame)

    def subscribing(self, tab: Tab) -> bytes:
        """Every session is created (or is there) and subscribed."""
        frames: list[dict[str, Any]] = []
        for i, place in enumerate(tab.places.values()):
            create = {"type": "session.create", "id": f"c{i}_{tab.client}", "agent": self._agent}
            create |= {"session": place.session, "tools": [TOOL] if self._tools else []}
            options = self._subscription(place, resume=False)
            subscribe = {"type": "session.subscribe", "id": f"s{i}_{tab.client}"}
            frames += [create, subscribe | options]
        return b"\n".join(map(_encode, frames))

    def start(self, place: Place, command: str, order: Any) -> bytes:
        """Starts a run of the session; `order` is what our agent shall do."""
        frame = {"type": "run.start", "id": command, "session": place.session, "input": order}
        return _encode(frame)

    def interrupt(self, place: Place, command: str) -> bytes:
        """Stops the session's run."""
        return _encode({"type": "run.interrupt", "id": command, "session": place.session})

    def _subscription(self, place: Place, *, resume: bool) -> dict[str, Any]:
        options: dict[str, Any] = {"session": place.session, "detail": "full"}
        if self._acks:
            options["window"] = WINDOW
        if self._tools:
            options["tools"] = ["*"]
        if resume:
            options |= {"after": place.seq, "epoch": place.epoch}
        return options

    # --- what comes down

    def hear(self, tab: Tab, text: bytes) -> list[dict[str, Any]]:
        """Takes a whole message; returns its frames. Raises `LoadError` for an error frame."""
        frames = [_DECODER.decode(line) for line in text.split(b"\n")]
        for frame in frames:
            kind = frame["type"]
            if "time" in frame:
                self._event(tab, frame, kind)
            elif kind == "subscribed":
                self._subscribed(tab, frame)
            elif kind == "welcome":
                tab.welcome = True
            elif kind == "cursor" and tab.resuming:  # the end of a replay
                tab.ready.add(frame["session"].encode())
            elif kind == "error" and frame["code"] not in LATE:
                told = f"The gateway refused a frame: {frame['code']}, {frame['message']}"
                raise LoadError(told + REMEDIES.get(frame["code"], ""))
        return frames

    def _event(self, tab: Tab, frame: dict[str, Any], kind: str) -> None:
        place = tab.places[frame["session"].encode()]
        tab.events += 1
        seq: int = frame["seq"]
        tab.merged += seq - frame.get("from_seq", seq)
        place.seq = max(seq, place.seq)
        if (ack := self._due(tab, place, self._clock())) is not None:
            tab.say(ack)
        if kind in ENDS:
            place.ended = True
            if kind == "run.failed":
                error = frame["error"]
                raise LoadError(f"A run failed: {error['code']}, {error['message']}")
        elif kind == "run.queued":
            place.ended = False

    def _subscribed(self, tab: Tab, frame: dict[str, Any]) -> None:
        key = frame["session"].encode()
        place = tab.places[key]
        place.epoch = frame["epoch"]
        if not frame["recovered"]:
            # A reset is no loss, but the events up to it are not to be counted.
            place.reset = tab.resuming
            place.start += frame["seq"] - place.seq
            place.seq = frame["seq"]
            tab.ready.add(key)
        elif not tab.resuming:
            tab.ready.add(key)
        place.acked, place.ack_at = place.seq, math.inf

    def follow(self, tab: Tab, buffer: bytearray, end: int, events: int, now: float) -> None:
        """Whole frames of a busy time, `events` of them events: acks are sent when due."""
        due: list[bytes] = []
        places = tab.places
        if len(places) == 1:
            at = buffer.rfind(b'"seq":', 0, end)
            found = _SEQ.findall(buffer, buffer.rfind(b'"session"', 0, at), end) if at > 0 else []
        else:
            found = _SEQ.findall(buffer, 0, end)
        passed = 0
        for key, digits in dict(found).items():
            place = places.get(key)
            if place is None:
                continue
            seq = int(digits)
            passed += seq - place.seq
            place.seq = seq
            if (ack := self._due(tab, place, now)) is not None:
                due.append(ack)
        if passed != events:  # some were merged, or are missing
            tab.merged += sum(int(a) - int(b) for a, b in _FROM.findall(buffer, 0, end))
        if due:
            tab.say(b"\n".join(due))

    def _due(self, tab: Tab, place: Place, now: float) -> bytes | None:
        """The ack that is due after 32 frames; fewer are noted for later."""
        if not self._acks:
            return None
        if place.seq - place.acked >= ACK_FRAMES:
            return _ack(place)
        if place.ack_at == math.inf:
            place.ack_at = now + ACK_S
            self._later.append((place.ack_at, tab, place))
        return None

    def tick(self, now: float) -> None:
        """Sends the acks that have waited long enough."""
        later = self._later
        while later and later[0][0] <= now:
            at, tab, place = later.popleft()
            if place.ack_at == at:
                tab.say(_ack(place))

    @staticmethod
    def missing(tab: Tab) -> int:
        """Events that the seqs promise and that did not come (or came twice: negative)."""
        promised = sum(place.seq - place.start for place in tab.places.values())
        return promised - tab.events - tab.merged


class Canned(Native):
    """The same against a server that only writes prepared frames, for the client's own ceiling."""

    def hello(self, tab: Tab) -> bytes:
        """A word; it is not looked at."""
        tab.welcome = True
        return b"{}"

    def subscribing(self, tab: Tab) -> bytes:
        """The same."""
        tab.ready.update(tab.places)
        return b"{}"

    def hear(self, tab: Tab, text: bytes) -> list[dict[str, Any]]:
        """Frames before the count begins; they are not looked at."""
        del tab, text
        return []


def _ack(place: Place) -> bytes:
    place.acked, place.ack_at = place.seq, math.inf
    return b'{"type":"ack","session":"%b","seq":%d}' % (place.session.encode(), place.seq)


def _encode(frame: dict[str, Any]) -> bytes:
    return msgspec.json.encode(frame)
