"""`Visitor`: a client with a will of its own, for chaos runs.

It sends scripted messages whose every word is known, answers tools, decides approvals, stops runs,
goes offline, changes the replica. What it does is drawn from its seed; what it reacts to is the
state its page shows, as a person's browser would, so it needs no event it may have missed.
"""

import asyncio
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from protocol.model import Approval, Call
from protocol.state import State
from tests.faults.clients import Client
from tests.faults.producer import Story, script
from tests.faults.record import Frame

PATIENCE_S = 90.0
SILENCE_S = 5.0
FETCH: Frame = {
    "name": "fetch",
    "description": "Any tab may do it",
    "parameters": {"type": "object"},
    "lease_ms": 2_000,
    "timeout_ms": 60_000,
    "idempotent": True,
}
PAY: Frame = {**FETCH, "name": "pay", "description": "Not twice", "idempotent": False}
TOOLS = [FETCH, PAY]
NAMES = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Asked:
    """A message that was accepted: its session, its run, and what the run has to say."""

    session: str
    run: str
    text: str


@dataclass(frozen=True)
class Sighting:
    """When a client saw something: an event, or a `subscribed` (then it sees events again)."""

    at: float
    type: str
    run: str | None = None


class Visitor(Client):
    """`begin`, then `visit` until it is told to end, then `assert_served`."""

    def __init__(self, number: int, seed: int, urls: Iterable[str], **options: Any) -> None:
        choices = random.Random(f"{seed}/{number}")
        window = choices.choice([None, 64, 512])
        super().__init__(
            *urls, client=f"tab-{number}", silence_s=SILENCE_S, window=window, **options
        )
        self.at = number
        self.session = ""
        self.asked: list[Asked] = []
        self.sightings: list[Sighting] = []
        self._choices = choices
        self._told = 0  # stories so far: each has words of its own
        self._beside: list[str] = []  # sessions of others whose tools this tab has too
        self._handling: set[str] = set()  # calls and approvals

    # --- what it saw, and when

    def _event(self, frame: Frame, line: str) -> None:
        super()._event(frame, line)
        sighting = Sighting(time.monotonic(), frame["type"], frame.get("run"))
        self.sightings.append(sighting)

    def _subscribed(self, frame: Frame) -> None:
        super()._subscribed(frame)
        self.sightings.append(Sighting(time.monotonic(), "subscribed"))

    @property
    def place(self) -> int:
        """Which of its addresses it is connected to, or was last."""
        return self.at % len(self.urls)

    @property
    def live_run(self) -> str | None:
        """Its session's run that is running."""
        state = self.states.get(self.session)
        run = state.live_run if state else None
        return run.id if run is not None and run.status == "running" else None

    # --- what it does

    async def begin(self, beside: Iterable[str] = ()) -> None:
        """A session of its own, and the second tab on others'."""
        self.session = await self.create(tools=TOOLS)
        for session in beside:
            await self.follow(session, tools=["fetch"])
            self._beside.append(session)

    async def visit(self, ended: asyncio.Event) -> None:
        """Does things until it is told to end and what it began has ended."""
        async with asyncio.TaskGroup() as group:
            attending = group.create_task(self._attend(group))
            while not ended.is_set():
                await self._do_something()
                pause = self._choices.uniform(0.5, 5.0)
                while pause > 0 and not ended.is_set():
                    await asyncio.sleep(0.25)
                    pause -= 0.25
            await self.until(self._served, within=PATIENCE_S, what="everything has ended")
            attending.cancel()

    async def _do_something(self) -> None:
        doing = self._choices.choices(
            (self._talk, self._use, self._confirm, self._stop, self._queue, self._replace),
            (6, 4, 3, 3, 2, 2),
        )[0]
        await doing()
        await self.until(self._served, within=PATIENCE_S, what="the run has ended")
        moving = self._choices.random()
        if moving < 0.12 and self.connected:
            await self.cut()
        elif moving < 0.18 and self.connected:
            await self.go_offline()
            await asyncio.sleep(self._choices.uniform(0.2, 2))
            self.go_online()

    async def _talk(self) -> None:
        await self._say(self._story())

    async def _use(self) -> None:
        tool = self._choices.choice(TOOLS)["name"]
        calls = [{"name": tool, "arguments": {"n": n}} for n in range(self._choices.randint(1, 2))]
        await self._say(self._story(), {"call_tools": calls}, self._story())

    async def _confirm(self) -> None:
        await self._say(self._story(), {"approve": {"title": "Really?"}}, self._story())

    async def _stop(self) -> None:
        run = await self._say(self._story(60))
        await asyncio.sleep(self._choices.uniform(0, 1))
        stop = {"type": "run.interrupt", "session": self.session, "run": run}
        answer = await self.command(stop, within=PATIENCE_S)
        assert answer["type"] == "ok" or answer["code"] == "run.not_active", answer

    async def _queue(self) -> None:
        for _ in range(3):
            await self._say(self._story())

    async def _replace(self) -> None:
        await self._say(self._story(60))
        await self._say(self._story(), if_busy="interrupt")

    def _story(self, most: int = 25) -> Story:
        self._told += 1
        first, last = divmod(self._told, len(NAMES))
        name = NAMES[first % len(NAMES)] + NAMES[last]
        return Story(self._choices.randint(3, most), self._choices.randint(10, 50), name)

    async def _say(self, *steps: Frame | Story, if_busy: str = "enqueue") -> str:
        send = {"type": "message.send", "session": self.session, "content": script(*steps)}
        ok = await self.must({**send, "if_busy": if_busy}, within=PATIENCE_S)
        text = "".join(step.text for step in steps if isinstance(step, Story))
        self.asked.append(Asked(self.session, ok["run"], text))
        # What it waits for is in the state once the state has come so far.
        await self.until(
            lambda: self.cursor(self.session)[1] >= ok["seq"], within=PATIENCE_S, what="its run"
        )
        return ok["run"]

    def _served(self) -> bool:
        state = self.states[self.session]
        return state.live_run is None and not state.queue and not self._handling

    # --- what it reacts to

    async def _attend(self, group: asyncio.TaskGroup) -> None:
        while True:
            await self.until(lambda: any(True for _ in self._open()), within=3_600)
            for session, open_ in list(self._open()):
                self._handling.add(open_.id)
                handle = self._answer if isinstance(open_, Call) else self._decide
                group.create_task(handle(session, open_))  # type: ignore[arg-type]

    def _open(self) -> Iterator[tuple[str, Call | Approval]]:
        """Calls and approvals that wait for somebody, and that nobody here handles yet."""
        state = self.states[self.session]
        for approval in state.approvals.values() if state.live_run else ():
            if approval.decision is None and approval.id not in self._handling:
                yield self.session, approval
        for session in (self.session, *self._beside):
            for call in _open_calls(self.states.get(session)):
                mine = session == self.session or call.name == "fetch"
                if mine and call.id not in self._handling:
                    yield session, call

    async def _answer(self, session: str, call: Call) -> None:
        """Claims, works, delivers; a call that somebody else holds is looked at again later."""
        about = {"session": session, "call": call.id}
        claim = await self.command({"type": "tool.claim", **about}, within=PATIENCE_S)
        if claim["type"] == "ok":
            await asyncio.sleep(self._choices.uniform(0, 0.3))
            output = {"by": self.name, "call": call.id}
            result = {"type": "tool.result", **about, "output": output}
            await self.command(result, within=PATIENCE_S)
        await asyncio.sleep(0.5)
        await self._handled(call.id)

    async def _decide(self, session: str, approval: Approval) -> None:
        await asyncio.sleep(self._choices.uniform(0, 0.5))
        respond = {"type": "approval.respond", "session": session, "approval": approval.id}
        decision = self._choices.choice(["approve", "approve", "deny"])
        await self.command({**respond, "decision": decision}, within=PATIENCE_S)
        await asyncio.sleep(0.5)
        await self._handled(approval.id)

    async def _handled(self, id_: str) -> None:
        """What is still open after that is tried again."""
        self._handling.discard(id_)
        await self._notify()


def _open_calls(state: State | None) -> list[Call]:
    """The calls of the live run that wait for a tab."""
    if state is None or state.live_run is None:
        return []
    return [
        call
        for call in state.calls.values()
        if call.target == "client" and call.status in ("requested", "claimed")
    ]
