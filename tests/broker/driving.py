"""Driving a broker in tests: short spellings of the verbs, ids of one's own, a listening ear."""

import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.broker.base import Append, Broker, Claimed, Create, Head, News, StoredCommand
from tests.support.waiting import eventually

_numbers = itertools.count(1)


def fresh(prefix: str = "s") -> str:
    """An id that nobody else uses, in this run or another on the same server."""
    return f"{prefix}-{next(_numbers)}-{secrets.token_hex(4)}"


def bodies(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


@dataclass
class Session:
    """One session of a broker, with the epoch it was made in."""

    broker: Broker
    id: str
    owner: str
    agent: str
    epoch: str

    def appending(self, *texts: str, control: int = 0, **rest: Any) -> Append:
        rest.setdefault("epoch", self.epoch)
        return Append(session=self.id, bodies=bodies(*texts), control=control, **rest)

    async def append(self, *texts: str, control: int = 0, **rest: Any) -> int:
        return await self.broker.append(self.appending(*texts, control=control, **rest))

    async def delete(self, **rest: Any) -> int:
        return await self.broker.delete(self.appending("deleted", control=1, **rest))

    async def head(self) -> Head:
        (head,) = await self.broker.heads([self.id])
        assert head is not None
        return head

    async def events(self, after: int = 0) -> list[tuple[int, bytes]]:
        return list((await self.broker.load(self.id, after=after, epoch=self.epoch)).events)

    async def claim(self, lease_s: float = 30) -> Claimed:
        claimed = await claimed_in_time(self.broker, self.agent, lease_s)
        assert claimed.session == self.id
        return claimed


async def claimed_in_time(broker: Broker, agent: str, lease_s: float = 30) -> Claimed:
    """A claim that succeeds: word of it may still be on its way."""

    async def claim() -> Claimed | None:
        return await broker.claim("worker", [agent], lease_s=lease_s)

    claimed = await eventually(claim, what="a claim")
    assert claimed is not None
    return claimed


async def make(broker: Broker, *texts: str, **given: Any) -> Session:
    """A new session; without texts it has the one event `created`."""
    session = given.pop("session", None) or fresh()
    owner = given.pop("owner", None) or f"tenant:{fresh('o')}"
    agent = given.pop("agent", None) or fresh("agent")
    create = Create(
        session=session,
        owner=owner,
        agent=agent,
        bodies=bodies(*(texts or ("created",))),
        control=given.pop("control", 1),
        timer_at=given.pop("timer_at", None),
        command=given.pop("command", None),
    )
    assert not given
    head = await broker.create(create)
    return Session(broker, session, owner, agent, head.epoch)


def command(key: str = "client:id", digest: str = "digest", answer: bytes = b"{}") -> StoredCommand:
    return StoredCommand(key, digest, answer)


@dataclass
class Ear:
    """A follower that keeps what it hears."""

    heard: list[News] = field(default_factory=list[News])

    def __call__(self, news: News) -> None:
        self.heard.append(news)

    # One ear is not another, whatever they heard.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

    def events(self) -> list[tuple[int, bytes]]:
        return [
            (seq, body) for news in self.heard for seq, body in enumerate(news.bodies, news.first)
        ]

    @property
    def told_to_look(self) -> Sequence[News]:
        return [news for news in self.heard if not news.bodies]
