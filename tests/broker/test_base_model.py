"""A model of the contract, walked at random beside a real broker."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.broker.base import Append, Broker, Create, News
from gateway.broker.open import open_broker
from gateway.errors import BrokerError, Trimmed
from tests.broker.conftest import private_url
from tests.broker.driving import command, fresh
from tests.broker.redis.patience import patient
from tests.support.processes import Valkey
from tests.support.waiting import eventually

T = TypeVar("T")

PAST, FAR = 0.0, 4e9
# Shrinking waits that long again and again; all queues are looked at every second.
BOUND = 3
SLOTS = st.integers(0, 2)
KEYS = st.sampled_from(["c:1", "c:2"])


@dataclass
class Model:
    """What the contract says of one session."""

    epoch: str
    events: list[bytes]
    version: int
    kept_from: int = 0  # events up to this seq may be gone
    fence: int = 0
    held: bool = False
    claimable_at: float | None = None
    timer_at: float | None = None
    snapshot: tuple[int, bytes] | None = None
    last: tuple[int, int, int] | None = None  # fence, n, seq
    commands: dict[str, tuple[bytes, int]] = field(default_factory=dict[str, tuple[bytes, int]])
    deleted: bool = False

    @property
    def seq(self) -> int:
        return len(self.events)

    def refuses(self, append: Append) -> str | int | None:
        """The name of the exception, the seq of a repeat, or None."""
        if self.deleted:
            return "SessionMissing"
        if append.epoch != self.epoch:
            return "EpochChanged"
        if append.n is not None and self.last and (append.fence, append.n) == self.last[:2]:
            return self.last[2]
        if append.command is not None and append.command.key in self.commands:
            return "Duplicate"
        if append.fence not in (None, self.fence):
            return "Fenced"
        if self.last and self.last[0] == append.fence and (append.n or self.last[1]) < self.last[1]:
            return "Fenced"
        if append.expect_version not in (None, self.version):
            return "Conflict"
        return None

    def store(self, append: Append) -> None:
        self.events += append.bodies
        self.version += append.control
        if append.fence is not None and append.n is not None:
            self.last = (append.fence, append.n, self.seq)
        if append.raise_fence:
            self.fence, self.held, self.claimable_at = self.fence + 1, False, None
        if append.claimable_at is not None and not self.held:
            self.claimable_at = append.claimable_at
        if append.timer_at is not None:
            self.timer_at = None if append.timer_at == math.inf else append.timer_at
        if append.command is not None:
            self.commands[append.command.key] = (append.command.answer, self.seq)


class BrokerMachine(RuleBasedStateMachine):
    """Three sessions of one agent; nothing depends on how fast the machine is."""

    def __init__(self, open_: Callable[[], Broker]) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.broker = open_()
        self.run(self.broker.start())
        self.agent = fresh("agent")
        self.owner = f"t:{fresh('owner')}"
        self.ids = [fresh() for _ in range(3)]
        self.models: dict[str, Model] = {}
        self.made: list[str] = []
        self.heard: dict[str, list[bytes]] = {session: [] for session in self.ids}
        for session in self.ids:
            self.run(self.broker.follow(session, self.hear))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def outcome(self, coroutine: Coroutine[Any, Any, T]) -> T | str:
        try:
            return self.run(coroutine)
        except BrokerError as error:
            return type(error).__name__

    def hear(self, news: News) -> None:
        assert news.first == len(self.heard[news.session]) + 1
        self.heard[news.session] += news.bodies

    def teardown(self) -> None:
        try:
            for session, model in self.models.items():
                heard = self.heard[session]
                self.run(eventually(lambda h=heard, m=model: h == m.events, within=BOUND))
        finally:
            self.run(self.broker.close())
            self.loop.close()

    @initialize(queued=st.booleans(), held=st.booleans())
    def begin(self, *, queued: bool, held: bool) -> None:
        """Two sessions, so that few steps lead to where it gets interesting."""
        for slot in (0, 1):
            self.create(slot, 1, None)
            if queued or held:
                self.store(slot, b"queued", claimable_at=PAST)
        if held:
            self.claim(3600.0)

    def store(self, slot: int, text: bytes, **rest: Any) -> None:
        session = self.ids[slot]
        model = self.models[session]
        append = Append(session=session, epoch=model.epoch, bodies=[text], control=1, **rest)
        model.store(append)
        assert self.outcome(self.broker.append(append)) == model.seq

    @rule(slot=SLOTS, count=st.integers(1, 3), key=st.none() | KEYS)
    def create(self, slot: int, count: int, key: str | None) -> None:
        session = self.ids[slot]
        create = Create(
            session=session,
            owner=self.owner,
            agent=self.agent,
            bodies=[b"created"] * count,
            control=1,
            command=None if key is None else command(key),
        )
        found = self.outcome(self.broker.create(create))
        if session in self.models:
            assert found == "Exists"
            return
        assert not isinstance(found, str)
        model = self.models[session] = Model(found.epoch, [b"created"] * count, 1)
        self.made.append(session)
        if key is not None:
            model.commands[key] = (b"{}", count)

    @rule(
        slot=SLOTS,
        texts=st.lists(
            st.binary(min_size=1, max_size=3).filter(lambda b: b"\n" not in b), max_size=3
        ),
        epoch=st.sampled_from(["right", "right", "right", "right", "wrong"]),
        version=st.sampled_from([None, None, 0, 0, -1, 1]),
        fence=st.sampled_from([None, None, 0, 0, -1, 1]),
        n=st.sampled_from([None, -1, 0, 1, 1, 2]),
        raise_fence=st.booleans(),
        claimable_at=st.sampled_from([None, None, PAST, FAR]),
        timer_at=st.sampled_from([None, None, PAST, FAR, math.inf]),
        key=st.none() | KEYS,
        delete=st.sampled_from([False] * 9 + [True]),
    )
    def append(
        self,
        *,
        slot: int,
        texts: list[bytes],
        epoch: str,
        version: int | None,
        fence: int | None,
        n: int | None,
        raise_fence: bool,
        claimable_at: float | None,
        timer_at: float | None,
        key: str | None,
        delete: bool,
    ) -> None:
        session = self.ids[slot]
        model = self.models.get(session)
        known = model or Model("", [], 0)
        last_n = known.last[1] if known.last and known.last[0] == known.fence else 0
        if delete:
            texts = texts or [b"deleted"]
        append = Append(
            session=session,
            epoch=known.epoch if epoch == "right" else "another",
            bodies=texts,
            control=min(len(texts), 1),
            expect_version=None if version is None else known.version + version,
            fence=None if fence is None else known.fence + fence,
            n=None if n is None or fence is None else max(1, last_n + n),
            raise_fence=raise_fence,
            claimable_at=claimable_at,
            timer_at=timer_at,
            command=None if key is None else command(key, answer=str(known.seq).encode()),
        )
        expected = "SessionMissing" if model is None else model.refuses(append)
        verb = self.broker.delete if delete else self.broker.append
        found = self.outcome(verb(append))
        if expected is not None or model is None:
            assert found == expected
            return
        before = model.seq
        model.store(append)
        assert found == model.seq
        if delete:
            model.deleted, model.held, model.claimable_at = True, False, None
            model.timer_at, model.snapshot, model.kept_from = None, None, before

    @precondition(lambda self: any(not model.deleted for model in self.models.values()))
    @rule(
        data=st.data(),
        texts=st.lists(st.just(b"event"), max_size=4),
        worker=st.booleans(),
        raise_fence=st.sampled_from([False, False, True]),
        claimable_at=st.sampled_from([None, PAST, PAST, FAR]),
        timer_at=st.sampled_from([None, PAST, FAR, math.inf]),
    )
    def append_as_is_right(
        self,
        *,
        data: st.DataObject,
        texts: list[bytes],
        worker: bool,
        raise_fence: bool,
        claimable_at: float | None,
        timer_at: float | None,
    ) -> None:
        alive = [session for session in self.made if not self.models[session].deleted]
        session = data.draw(st.sampled_from(alive))
        model = self.models[session]
        last_n = model.last[1] if model.last and model.last[0] == model.fence else 0
        append = Append(
            session=session,
            epoch=model.epoch,
            bodies=texts,
            control=min(len(texts), 1),
            expect_version=model.version,
            fence=model.fence if worker else None,
            n=last_n + 1 if worker else None,
            raise_fence=raise_fence,
            claimable_at=claimable_at,
            timer_at=timer_at,
        )
        assert model.refuses(append) is None
        model.store(append)
        assert self.outcome(self.broker.append(append)) == model.seq

    @rule(slot=SLOTS, after=st.integers(-1, 5), cached=st.booleans(), key=KEYS)
    def load(self, slot: int, after: int, cached: bool, key: str) -> None:
        session = self.ids[slot]
        model = self.models.get(session)
        if model is None:
            assert self.outcome(self.broker.load(session)) == "SessionMissing"
            return
        after = max(0, model.seq - after)
        epoch = model.epoch if cached else ""
        loaded = self.run(self.broker.load(session, after=after, epoch=epoch, command=key))
        head = loaded.head
        assert (head.epoch, head.seq, head.version) == (model.epoch, model.seq, model.version)
        assert (head.fence, loaded.deleted) == (model.fence, model.deleted)
        stored = loaded.command and (loaded.command.answer, loaded.command.seq)
        assert stored == model.commands.get(key)
        if model.deleted:
            assert not loaded.events
            return
        if loaded.snapshot is not None:
            start = loaded.snapshot_seq
            assert (start, loaded.snapshot) == model.snapshot
        elif loaded.events:
            start = loaded.events[0][0] - 1
            assert start == 0 or (cached and start == after)
        else:
            start = model.seq
            assert cached
            assert after == model.seq
        assert list(loaded.events) == list(enumerate(model.events[start:], start + 1))

    @rule(slot=SLOTS, after=st.integers(0, 12), limit=st.integers(1, 6))
    def read(self, slot: int, after: int, limit: int) -> None:
        session = self.ids[slot]
        model = self.models.get(session)
        if model is None:
            assert self.outcome(self.broker.read(session, after, limit)) == "SessionMissing"
            return
        try:
            found = list(self.run(self.broker.read(session, after, limit)))
        except Trimmed:
            assert after < model.kept_from
            return
        everything = list(enumerate(model.events[after:], after + 1))
        assert found == everything[: len(found)]
        assert len(found) >= min(limit, len(everything))

    @precondition(lambda self: self.models)
    @rule(slot=SLOTS, back=st.integers(-1, 4), keep=st.integers(0, 3), right=st.booleans())
    def put_snapshot(self, slot: int, back: int, keep: int, right: bool) -> None:
        session = self.made[slot % len(self.made)]
        model = self.models[session]
        seq = max(1, model.seq - back)
        data = b"state at %d" % seq
        epoch = model.epoch if right else "another"
        found = self.run(self.broker.put_snapshot(session, epoch, seq, data, keep_events=keep))
        newer = model.snapshot is None or seq > model.snapshot[0]
        assert found == (right and newer and seq <= model.seq and not model.deleted)
        if found:
            model.snapshot = (seq, data)
            model.kept_from = max(model.kept_from, seq - keep)

    @rule(lease_s=st.sampled_from([0.0, 3600.0]))
    def claim(self, lease_s: float) -> None:
        may = {s for s, model in self.models.items() if model.claimable_at == PAST}
        claim = self.broker.claim
        if not may:
            # Word of something claimable would come within this time.
            self.run(self.broker.wait_claimable([self.agent], 0.002))
            assert self.run(claim("worker", [self.agent], lease_s=lease_s)) is None
            return
        claimed = self.run(
            eventually(
                lambda: claim("worker", [self.agent], lease_s=lease_s), within=BOUND, what="a claim"
            )
        )
        assert claimed is not None
        assert claimed.session in may
        model = self.models[claimed.session]
        assert (claimed.epoch, claimed.lost) == (model.epoch, model.held)
        assert claimed.fence == model.fence + 1
        model.fence, model.held = claimed.fence, True
        model.claimable_at = FAR if lease_s else PAST

    @precondition(lambda self: self.models)
    @rule(slot=SLOTS, fence=st.sampled_from([0, 0, -1, 1]), lease_s=st.sampled_from([0.0, 3600.0]))
    def renew(self, slot: int, fence: int, lease_s: float) -> None:
        session = self.made[slot % len(self.made)]
        model = self.models[session]
        found = self.outcome(self.broker.renew(session, model.fence + fence, lease_s=lease_s))
        if fence or not model.held:
            assert found == "Fenced"
            return
        assert found == pytest.approx(self.broker.now() + lease_s, abs=5)
        model.claimable_at = FAR if lease_s else PAST

    @precondition(lambda self: self.models)
    @rule(
        slot=SLOTS,
        fence=st.sampled_from([0, 0, 0, 1]),
        version=st.sampled_from([None, 0, 1]),
        at=st.sampled_from([None, PAST, FAR]),
    )
    def release(self, slot: int, fence: int, version: int | None, at: float | None) -> None:
        session = self.made[slot % len(self.made)]
        model = self.models[session]
        expect = None if version is None else model.version + version
        found = self.outcome(
            self.broker.release(
                session, model.fence + fence, claimable_at=at, expect_version=expect
            )
        )
        if fence or not model.held:
            assert found == "Fenced"
        elif version == 1:
            assert found == "Conflict"
        else:
            assert found is None
            model.held, model.claimable_at = False, at

    @precondition(lambda self: self.models)
    @rule(slot=SLOTS, at=st.sampled_from([None, PAST, FAR]), version=st.sampled_from([0, 0, 1]))
    def set_timer(self, slot: int, at: float | None, version: int) -> None:
        session = self.made[slot % len(self.made)]
        model = self.models[session]
        expect = model.version + version
        self.run(self.broker.set_timer(session, at, expect_version=expect))
        if not version and not model.deleted:
            model.timer_at = at

    @rule()
    def timers(self) -> None:
        found = set(self.run(self.broker.due_timers(1000))) & set(self.ids)
        assert found == {s for s, model in self.models.items() if model.timer_at == PAST}
        for session in found:  # handed out, they pause: take them away
            model = self.models[session]
            self.run(self.broker.set_timer(session, None, expect_version=model.version))
            model.timer_at = None

    @rule(limit=st.integers(1, 3))
    def sessions(self, limit: int) -> None:
        alive = [s for s in reversed(self.made) if not self.models[s].deleted]
        found = self.run(self.broker.sessions(self.owner, limit=limit, before=None))
        assert found == (alive[:limit], len(alive) > limit)

    @rule()
    def heads(self) -> None:
        found = self.run(self.broker.heads(self.ids))
        for session, head in zip(self.ids, found, strict=True):
            model = self.models.get(session)
            if model is None:
                assert head is None
            else:
                assert head is not None
                assert (head.seq, head.version, head.fence) == (
                    model.seq,
                    model.version,
                    model.fence,
                )


def walk(open_: Callable[[], Broker], examples: int) -> None:
    class Machine(BrokerMachine):
        def __init__(self) -> None:
            super().__init__(open_)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            settings.get_profile("gateway"),
            max_examples=examples,
            stateful_step_count=40,
            report_multiple_bugs=False,
        ),
    )


def test_memory_is_as_the_model() -> None:
    walk(lambda: open_broker("memory://"), 300)


@pytest.mark.timeout(600)
def test_valkey_is_as_the_model(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    walk(lambda: patient(private_url(valkey), monkeypatch), 150)
