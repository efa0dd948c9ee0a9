"""A `Trial`: clients under faults, and the judgement at the end.

`async with trial(broker) as t:` — clients made by it are recorded; when the block ends well they
settle (each reads to the head of what it follows), and the history checker judges everything. A
fault test without this is not one.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from gateway.broker.base import Broker
from gateway.errors import BrokerError, SessionMissing
from tests.faults.clients import Client
from tests.faults.history import assert_holds
from tests.faults.record import Log, Record, stored
from tests.support.waiting import eventually
from tests.support.wire import Tab

SETTLE_SECONDS = 20


class Trial:
    """Who took part, and what is known of lost epochs."""

    def __init__(self, broker: Broker, stack: AsyncExitStack) -> None:
        self.broker = broker
        self.clients: list[Client] = []
        self.durable = False
        """Whether whatever a lost epoch showed must still be stored."""
        self.earlier: list[Log] = []
        self.logs: dict[str, Log] = {}  # after `judge`
        self._tabs: list[tuple[Tab, Record]] = []
        self._stack = stack

    async def client(self, *urls: str, **options: Any) -> Client:
        """A client, connected; it leaves when the trial is over."""
        client = await self._stack.enter_async_context(Client(*urls, **options))
        self.clients.append(client)
        return client

    async def remember(self, session: str) -> Log:
        """Keeps the log as it is now, because its epoch is about to be lost."""
        log = await stored(self.broker, session)
        self.earlier.append(log)
        return log

    async def log(self, session: str) -> Log:
        """What is stored now."""
        return await stored(self.broker, session)

    async def settle(self) -> None:
        """Returns when every client has read to the head of all it follows."""
        for client in self.clients:
            for session in client.following():

                async def settled(client: Client = client, session: str = session) -> bool:
                    try:
                        (head,) = await self.broker.heads([session])
                    except BrokerError:
                        return False
                    return head is None or client.cursor(session) == (head.epoch, head.seq)

                what = f"{client.name} has read {session}"
                try:
                    await eventually(settled, within=SETTLE_SECONDS, what=what)
                except AssertionError as error:
                    heads = await self.broker.heads([session])
                    at = client.cursor(session)
                    raise AssertionError(f"{error}: it is at {at}, head {heads}") from None

    async def judge(self) -> None:
        """Settles, reads what is stored, and holds it against what was seen."""
        await self.settle()
        sessions = {s for client in self.clients for s in client.following()}
        for session in sorted(sessions):
            with suppress(SessionMissing):  # lost as a whole
                self.logs[session] = await stored(self.broker, session)
        logs = self.logs.values()
        earlier = [log for log in self.earlier if not self._is_kept(log)]
        if self.durable:
            earlier += [replace(log, epoch=e) for log in logs for e in self._epochs(log)]
        assert_holds([client.record for client in self.clients], logs, earlier=earlier)
        for client in self.clients:
            for session in client.following():
                log = self.logs.get(session)
                if log is not None and log.first == 1:
                    client.assert_folded(log)

    def _is_kept(self, log: Log) -> bool:
        kept = self.logs.get(log.session)
        return kept is not None and kept.epoch == log.epoch

    def _epochs(self, log: Log) -> set[str]:
        """The earlier epochs of a session that any client saw."""
        return {
            frame["epoch"]
            for client in self.clients
            for frame in client.record.frames()
            if frame["type"] == "subscribed"
            and frame["session"] == log.session
            and frame["epoch"] != log.epoch
        }


@asynccontextmanager
async def trial(broker: Broker) -> AsyncGenerator[Trial]:
    """Clients leave, and the history is judged, when the block ends well."""
    async with AsyncExitStack() as stack:
        made = Trial(broker, stack)
        yield made
        async with asyncio.timeout(SETTLE_SECONDS + 10):
            await made.judge()
