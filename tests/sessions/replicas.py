"""Driving stores: commands of tabs, a worker's hold, and faults of the broker between them."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from gateway.broker.base import Answered, Append, Broker, Claimed, Loaded
from gateway.errors import BrokerUnavailable
from gateway.sessions import inputs
from gateway.sessions.attempt import Attempt
from gateway.sessions.loading import fold_loaded
from gateway.sessions.session import Session, to_snapshot
from gateway.sessions.store import Store
from protocol import commands as cmd
from protocol import events as ev
from protocol.codec import decode_event
from protocol.errors import ProtocolError
from protocol.frames import Ok
from protocol.values import Tool
from tests.sessions.bench import origin
from tests.support.waiting import eventually

_count = itertools.count()

QUICK = Tool("quick", {}, lease_ms=100, idempotent=True)
SLOW = Tool("slow", {}, lease_ms=600_000, timeout_ms=600_000)
ASK = Tool("ask", {}, approval=True)


def command_id() -> str:
    return f"cmd_{next(_count)}"


async def created(store: Store, *tools: Tool, subject: str = "dev") -> str:
    """A new session with an id of its own."""
    name = f"s_{next(_count)}"
    create = cmd.SessionCreate(
        id=command_id(), agent="scripted", session=name, tools=list(tools) or None
    )
    await store.submit(create, origin(subject=subject))
    return name


async def send(store: Store, session: str, content: str = "Hi", **fields: Any) -> Ok:
    fields.setdefault("id", command_id())
    command = cmd.MessageSend(session=session, content=content, **fields)
    return await store.submit(command, origin())


async def update(store: Store, session: str, **metadata: Any) -> Ok:
    command = cmd.SessionUpdate(id=command_id(), session=session, metadata=metadata)
    return await store.submit(command, origin())


async def refused(
    store: Store, command: cmd.DecidedCommand, client: str = "tab_A", subject: str = "dev"
) -> str:
    """The code that a command is refused with."""
    try:
        ok = await store.submit(command, origin(client, subject))
    except ProtocolError as error:
        return error.code
    raise AssertionError(f"it was answered with {ok}")


async def claimed(store: Store, *, lease_s: float = 15, agent: str = "scripted") -> Claimed:
    """What a worker claims; there must be something."""

    async def claim() -> Claimed | None:
        return await store.broker.claim("worker", [agent], lease_s=lease_s)

    found = await eventually(claim)
    assert found is not None
    return found


async def attempt(store: Store, *, lease_s: float = 15, resume: Any = "replay") -> Attempt:
    """An attempt of the next run, begun."""
    held = await claimed(store, lease_s=lease_s)
    one = await store.attempt(held)
    await one.step(inputs.ClaimRun(resume=resume, lost=held.lost))
    return one


def calling(call: str, name: str, message: str) -> inputs.RequestCalls:
    request = inputs.CallRequest(call=call, name=name, arguments={}, target="client")
    return inputs.RequestCalls(message=message, calls=[request])


def delta(store: Store, message: str, text: str = "x") -> ev.MessageDelta:
    return ev.MessageDelta(
        time="2026-01-01T00:00:00.000Z", message=message, part=0, kind="text", delta=text
    )


async def log(broker: Broker, session: str, after: int = 0) -> list[ev.Event]:
    """What is stored, in order and without holes."""
    stored = await broker.read(session, after, 10_000)
    assert [seq for seq, _ in stored] == list(range(after + 1, after + 1 + len(stored)))
    events = [decode_event(body) for _, body in stored]
    return [event for event in events if event is not None]


async def types(broker: Broker, session: str, after: int = 0) -> list[str]:
    return [str(event.__struct_config__.tag) for event in await log(broker, session, after)]


async def truth(broker: Broker, session: str) -> Session:
    """The session, folded from what the broker has."""
    return fold_loaded(session, await broker.load(session))


async def assert_true(store: Store, session: str) -> None:
    """What a store has is what is stored."""
    known = await store.load(session, origin().grant)
    assert to_snapshot(known) == to_snapshot(await truth(store.broker, session))


class Faults:
    """A broker whose replies get lost, or to whose appends something happens first.

    Everything else goes through. `on_append` entries are used up one per append (or delete), in
    order: "lost" stores it and loses the reply, "cut" loses the request, a function is awaited
    before it, None does nothing.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.on_append: deque[str | Callable[[], Any] | None] = deque()
        self.appends: list[Append] = []
        self.unheard_loads = 0  # so many replies to `load` get lost

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    @property
    def broker(self) -> Broker:
        return cast("Broker", self)

    async def load(self, session: str, **options: Any) -> Loaded:
        if self.unheard_loads > 0:
            self.unheard_loads -= 1
            raise BrokerUnavailable("lost")
        return await self._broker.load(session, **options)

    async def append(self, append: Append) -> int:
        return await self._through(append, self._broker.append)

    def append_soon(self, append: Append, answered: Answered) -> None:
        def lose(_: int | BrokerUnavailable) -> None:
            answered(BrokerUnavailable("lost"))

        fault = self.on_append[0] if self.on_append else None
        if callable(fault):  # `append` awaits it
            asyncio.get_running_loop().call_soon(answered, 0)
            return
        if self.on_append:
            self.on_append.popleft()
        self.appends.append(append)
        if fault == "cut":
            asyncio.get_running_loop().call_soon(answered, BrokerUnavailable("cut"))
        else:
            self._broker.append_soon(append, lose if fault == "lost" else answered)

    async def delete(self, append: Append) -> int:
        return await self._through(append, self._broker.delete)

    async def _through(self, append: Append, verb: Callable[[Append], Any]) -> int:
        fault = self.on_append.popleft() if self.on_append else None
        self.appends.append(append)
        if callable(fault):
            await fault()
        if fault == "cut":
            raise BrokerUnavailable("cut")
        seq: int = await verb(append)
        if fault == "lost":
            raise BrokerUnavailable("lost")
        return seq
