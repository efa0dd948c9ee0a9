"""The contract of `gateway.broker.base`, held against every broker."""

import asyncio
import math
import traceback
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from msgspec import structs

from gateway.broker.base import GONE_S, Append, Asker, Broker, Claimed, Create
from gateway.errors import (
    BrokerError,
    BrokerUnavailable,
    Conflict,
    Duplicate,
    EpochChanged,
    Exists,
    Fenced,
    SessionMissing,
    Trimmed,
)
from tests.broker.conftest import Brokers
from tests.broker.driving import Ear, Session, bodies, claimed_in_time, command, fresh, make
from tests.support.waiting import eventually


async def outcomes(calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """What each of them returned or raised, all run at once."""

    async def outcome(call: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await call
        except BrokerError as error:
            return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome(call)) for call in calls]
    return [task.result() for task in tasks]


class TestCreate:
    async def test_events_get_the_first_seqs(self, broker: Broker) -> None:
        session = await make(broker, "a", "b", "c", control=2)
        head = await session.head()
        assert (head.seq, head.version, head.fence) == (3, 2, 0)
        assert head.epoch == session.epoch
        assert await session.events() == [(1, b"a"), (2, b"b"), (3, b"c")]

    async def test_epochs_differ(self, broker: Broker) -> None:
        epochs = {(await make(broker)).epoch for _ in range(20)}
        assert len(epochs) == 20

    async def test_taken_id_says_whose_it_is(self, broker: Broker) -> None:
        session = await make(broker)
        with pytest.raises(Exists) as caught:
            await make(broker, session=session.id, owner="other:one", agent="x")
        assert (caught.value.owner, caught.value.agent) == (session.owner, session.agent)
        assert caught.value.deleted is False
        assert await session.events() == [(1, b"created")]

    async def test_refused_one_is_in_nobodys_list(self, broker: Broker) -> None:
        session, thief = await make(broker), f"t:{fresh()}"
        with pytest.raises(Exists):
            await make(broker, session=session.id, owner=thief)
        assert await broker.sessions(thief, limit=10, before=None) == ([], False)
        assert await broker.sessions(session.owner, limit=10, before=None) == ([session.id], False)

    async def test_id_of_a_deleted_one_stays_taken(self, broker: Broker) -> None:
        session = await make(broker)
        await session.delete()
        with pytest.raises(Exists) as caught:
            await make(broker, session=session.id, owner=session.owner)
        assert caught.value.deleted is True

    async def test_keeps_the_commands_answer(self, broker: Broker) -> None:
        session = await make(broker, "a", "b", command=command("c:1", "d", b'{"x":\n1}'))
        stored = (await broker.load(session.id, command="c:1")).command
        assert stored is not None
        assert (stored.key, stored.digest) == ("c:1", "d")
        assert (stored.answer, stored.seq) == (b'{"x":\n1}', 2)

    async def test_of_many_at_once_one_wins(self, brokers: Brokers) -> None:
        session, owner = fresh(), f"t:{fresh()}"
        calls = [
            make(brokers[i % 2], session=session, owner=owner, agent=f"a{i}") for i in range(20)
        ]
        made = [found for found in await outcomes(calls) if isinstance(found, Session)]
        assert len(made) == 1
        assert (await brokers.other.load(session)).agent == made[0].agent


class TestAppend:
    async def test_returns_the_last_seq(self, broker: Broker) -> None:
        session = await make(broker)
        assert await session.append("a", "b", "c") == 4
        assert await session.append("d") == 5
        assert await session.events(1) == [(2, b"a"), (3, b"b"), (4, b"c"), (5, b"d")]

    async def test_bytes_come_back_as_they_were(self, broker: Broker) -> None:
        session = await make(broker)
        texts = ['{"text":"ä\\n€😀"}', " ", "0" * 100_000, "\r\0\t"]
        await session.append(*texts)
        assert [body.decode() for _, body in await session.events(1)] == texts

    async def test_version_counts_control_events(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append("delta", "delta")
        assert (await session.head()).version == 1
        await session.append("control", "delta", "control", control=2, expect_version=1)
        assert (await session.head()).version == 3

    async def test_no_events_move_nothing(self, broker: Broker) -> None:
        session = await make(broker)
        assert await session.append(claimable_at=0.0) == 1
        assert (await session.claim()).session == session.id
        assert await session.append("a") == 2

    async def test_missing(self, broker: Broker) -> None:
        nobody = Session(broker, fresh(), "t:o", "agent", "epoch")
        with pytest.raises(SessionMissing):
            await nobody.append("a")

    async def test_other_epoch(self, broker: Broker) -> None:
        session = await make(broker)
        with pytest.raises(EpochChanged) as caught:
            await session.append("a", epoch="another")
        assert caught.value.epoch == session.epoch
        assert (await session.head()).seq == 1

    async def test_other_version(self, broker: Broker) -> None:
        session = await make(broker)
        for version in (0, 2):
            with pytest.raises(Conflict):
                await session.append("a", control=1, expect_version=version)
        assert (await session.head()).seq == 1

    async def test_of_many_with_one_version_one_wins(self, brokers: Brokers) -> None:
        session = await make(brokers.one)
        calls = [
            brokers[i % 2].append(session.appending(str(i), control=1, expect_version=1))
            for i in range(100)
        ]
        found = await outcomes(calls)
        assert sorted(type(outcome).__name__ for outcome in found) == ["Conflict"] * 99 + ["int"]
        assert len(await session.events()) == 2

    async def test_many_at_once_leave_no_hole(self, brokers: Brokers) -> None:
        session = await make(brokers.one)
        seqs = await outcomes(
            [brokers[i % 2].append(session.appending(f"{i}a", f"{i}b")) for i in range(100)]
        )
        events = await session.events(1)
        assert sorted(seqs) == list(range(3, 202, 2))
        assert [seq for seq, _ in events] == list(range(2, 202))
        texts = [body.decode() for _, body in events]
        pairs = zip(texts[::2], texts[1::2], strict=True)
        assert all(a[:-1] == b[:-1] for a, b in pairs), "an append is not torn apart"

    async def test_repeated_command_is_answered(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append("a", "b", command=command("c:1", "d1", b"answer"))
        await session.append("c")
        with pytest.raises(Duplicate) as caught:
            await session.append("a", command=command("c:1", "d2", b"other"))
        found = caught.value
        assert (found.digest, found.answer, found.seq) == ("d1", b"answer", 3)
        assert (await session.head()).seq == 4
        assert (await session.append("d", command=command("c:2"))) == 5

    async def test_command_is_of_one_session(self, broker: Broker) -> None:
        one, two = await make(broker), await make(broker)
        assert await one.append("a", command=command()) == 2
        assert await two.append("a", command=command()) == 2

    async def test_refused_command_is_not_kept(self, broker: Broker) -> None:
        session = await make(broker)
        with pytest.raises(Conflict):
            await session.append("a", control=1, expect_version=7, command=command())
        assert (await broker.load(session.id, command="client:id")).command is None

    async def test_order_of_the_checks(self, broker: Broker) -> None:
        session = await make(broker, command=command())
        await session.append(claimable_at=0.0)
        fence = (await session.claim()).fence
        seq = await session.append("a", fence=fence, n=1)
        wrong: dict[str, Any] = {"expect_version": 9}
        with pytest.raises(Conflict):
            await session.append("b", **wrong, fence=fence, n=2)
        wrong |= {"fence": fence - 1, "n": 2}
        with pytest.raises(Fenced):
            await session.append("b", **wrong)
        wrong["command"] = command()
        with pytest.raises(Duplicate):
            await session.append("b", **wrong)
        wrong |= {"fence": fence, "n": 1}
        assert await session.append("b", **wrong) == seq, "the repeat of an append"
        wrong["epoch"] = "another"
        with pytest.raises(EpochChanged):
            await session.append("b", **wrong)
        with pytest.raises(SessionMissing):
            await Session(broker, fresh(), "t:o", "agent", "e").append("b", **wrong)


class TestAppendSoon:
    async def held(self, broker: Broker) -> tuple[Session, int]:
        """A session with an attempt that has made its first append."""
        session = await make(broker)
        await session.append(claimable_at=0.0)
        fence = (await session.claim()).fence
        await session.append("first", fence=fence, n=1)
        return session, fence

    async def answer(self, broker: Broker, append: Append) -> int | BrokerUnavailable:
        answers: list[int | BrokerUnavailable] = []
        answered = asyncio.Event()

        def hear(answer: int | BrokerUnavailable) -> None:
            answers.append(answer)
            answered.set()

        broker.append_soon(append, hear)
        assert not answers
        await answered.wait()
        await asyncio.sleep(0)
        assert len(answers) == 1
        return answers[0]

    async def test_stores_and_publishes(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        ear = Ear()
        await broker.follow(session.id, ear)
        assert await self.answer(broker, session.appending("a", "b", fence=fence, n=2)) == 4
        assert await self.answer(broker, session.appending("c", fence=fence, n=3)) == 5
        assert await session.events(2) == [(3, b"a"), (4, b"b"), (5, b"c")]
        await eventually(lambda: ear.heard and ear.heard[-1].last == 5)

    async def test_repeat_changes_nothing(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        append = session.appending("a", fence=fence, n=2)
        assert await self.answer(broker, append) == 3
        assert await self.answer(broker, append) in (3, 0)
        assert await broker.append(append) == 3
        assert (await session.head()).seq == 3

    async def test_an_attempts_first_one_may_be_left_to_append(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append(claimable_at=0.0)
        append = session.appending("a", fence=(await session.claim()).fence, n=1)
        assert await self.answer(broker, append) in (2, 0)
        assert await broker.append(append) == 2

    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"epoch": "another"}, EpochChanged),
            ({"fence": 99}, Fenced),
            ({"n": 0}, Fenced),
            ({"session": "nobody"}, SessionMissing),
        ],
    )
    async def test_append_says_why_not(
        self, broker: Broker, wrong: dict[str, Any], why: type[BrokerError]
    ) -> None:
        session, fence = await self.held(broker)
        append = structs.replace(session.appending("a", fence=fence, n=2), **wrong)
        assert await self.answer(broker, append) == 0
        with pytest.raises(why):
            await broker.append(append)
        assert (await session.head()).seq == 2

    async def test_a_body_with_a_line_break_is_refused(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        with pytest.raises(ValueError, match="line break"):
            broker.append_soon(session.appending("a\nb", fence=fence, n=2), lambda _: None)


class TestFence:
    async def held(self, broker: Broker) -> tuple[Session, int]:
        session = await make(broker)
        await session.append(claimable_at=0.0)
        return session, (await session.claim()).fence

    async def test_append_of_the_attempt(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        assert fence == (await session.head()).fence
        assert await session.append("a", fence=fence, n=1) == 2
        assert await session.append("b", fence=fence, n=2) == 3

    @pytest.mark.parametrize("other", [-1, 1])
    async def test_any_other_fence_is_refused(self, broker: Broker, other: int) -> None:
        session, fence = await self.held(broker)
        with pytest.raises(Fenced):
            await session.append("a", fence=fence + other, n=1)
        assert (await session.head()).seq == 1

    async def test_repeat_changes_nothing(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        seq = await session.append("a", "b", fence=fence, n=1)
        await session.append("from a client")
        assert await session.append("a", "b", fence=fence, n=1) == seq
        assert (await session.head()).seq == seq + 1

    async def test_repeat_of_the_append_that_raised_the_fence(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        end: dict[str, Any] = {"fence": fence, "n": 1, "raise_fence": True, "control": 1}
        seq = await session.append("end", **end, expect_version=1)
        assert await session.append("end", **end, expect_version=1) == seq
        with pytest.raises(Fenced):
            await session.append("more", fence=fence, n=2)

    async def test_ghost_of_an_older_append(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        await session.append("a", fence=fence, n=1)
        await session.append("b", fence=fence, n=2)
        with pytest.raises(Fenced):
            await session.append("a", fence=fence, n=1)
        assert len(await session.events(1)) == 2

    async def test_stop_ends_the_attempt(self, brokers: Brokers) -> None:
        session, fence = await self.held(brokers.one)
        await brokers.other.append(
            session.appending("stop", control=1, expect_version=1, raise_fence=True)
        )
        with pytest.raises(Fenced):
            await session.append("token", fence=fence, n=1)
        with pytest.raises(Fenced):
            await session.broker.renew(session.id, fence, lease_s=30)
        with pytest.raises(Fenced):
            await session.broker.release(session.id, fence, claimable_at=0.0)
        assert await session.broker.claim("worker", [session.agent], lease_s=30) is None

    async def test_numbers_start_again_with_each_attempt(self, broker: Broker) -> None:
        session, first = await self.held(broker)
        await session.append("a", fence=first, n=1, raise_fence=True, claimable_at=0.0)
        second = (await session.claim()).fence
        assert second > first
        assert await session.append("b", fence=second, n=1) == 3

    async def test_stop_races_tokens(self, brokers: Brokers) -> None:
        session, fence = await self.held(brokers.one)

        async def tokens() -> None:
            for n in range(1, 500):
                await session.append("token", fence=fence, n=n)
                await asyncio.sleep(0)

        async def stop() -> int:
            await eventually(session.head, what="a head")
            return await brokers.other.append(session.appending("stop", raise_fence=True))

        _, stopped = await outcomes([tokens(), stop()])
        events = await session.events()
        assert events[-1] == (stopped, b"stop"), "nothing of the run after its stop"


class TestLoad:
    async def test_missing(self, broker: Broker) -> None:
        with pytest.raises(SessionMissing):
            await broker.load(fresh())

    async def test_tells_whose_it_is(self, broker: Broker) -> None:
        session = await make(broker)
        loaded = await broker.load(session.id)
        assert (loaded.owner, loaded.agent) == (session.owner, session.agent)
        assert (loaded.snapshot, loaded.snapshot_seq) == (None, 0)
        assert loaded.deleted is False

    async def test_snapshot_and_the_rest(self, broker: Broker) -> None:
        session = await make(broker, "1", "2", "3", "4")
        assert await broker.put_snapshot(session.id, session.epoch, 3, b"at 3", keep_events=0)
        loaded = await broker.load(session.id)
        assert (loaded.snapshot, loaded.snapshot_seq) == (b"at 3", 3)
        assert list(loaded.events) == [(4, b"4")]

    async def test_snapshot_at_the_head(self, broker: Broker) -> None:
        session = await make(broker, "1", "2")
        assert await broker.put_snapshot(session.id, session.epoch, 2, b"at 2", keep_events=0)
        loaded = await broker.load(session.id)
        assert (loaded.snapshot_seq, list(loaded.events)) == (2, [])
        await session.append("3")
        assert await session.events() == [(3, b"3")]

    async def test_after_a_cached_state(self, broker: Broker) -> None:
        session = await make(broker, "1", "2")
        await session.append("3", "4", "5")
        await broker.put_snapshot(session.id, session.epoch, 2, b"at 2", keep_events=10)
        loaded = await broker.load(session.id, after=3, epoch=session.epoch)
        assert loaded.snapshot is None
        assert list(loaded.events) == [(4, b"4"), (5, b"5")]
        loaded = await broker.load(session.id, after=5, epoch=session.epoch)
        assert (loaded.snapshot, list(loaded.events)) == (None, [])

    @pytest.mark.parametrize("after", [1, 2, 3])
    async def test_cached_state_of_another_epoch(self, broker: Broker, after: int) -> None:
        session = await make(broker, "1", "2", "3")
        loaded = await broker.load(session.id, after=after, epoch="another")
        assert loaded.snapshot is None
        assert [seq for seq, _ in loaded.events] == [1, 2, 3]

    async def test_cached_state_beyond_the_head(self, broker: Broker) -> None:
        session = await make(broker, "1", "2")
        loaded = await broker.load(session.id, after=9, epoch=session.epoch)
        assert [seq for seq, _ in loaded.events] == [1, 2]

    async def test_cached_state_too_old(self, broker: Broker) -> None:
        session = await make(broker)
        for text in "23456":
            await session.append(text)
        await broker.put_snapshot(session.id, session.epoch, 5, b"at 5", keep_events=1)
        loaded = await broker.load(session.id, after=2, epoch=session.epoch)
        assert (loaded.snapshot, loaded.snapshot_seq) == (b"at 5", 5)
        assert list(loaded.events) == [(6, b"6")]

    async def test_command_of_another(self, broker: Broker) -> None:
        session = await make(broker, command=command("c:1"))
        assert (await broker.load(session.id, command="c:2")).command is None
        assert (await broker.load(session.id)).command is None


class TestRead:
    async def test_missing(self, broker: Broker) -> None:
        with pytest.raises(SessionMissing):
            await broker.read(fresh(), 0, 10)

    async def test_pages(self, broker: Broker) -> None:
        session = await make(broker)
        for i in range(2, 300):
            await session.append(str(i))
        found: list[tuple[int, bytes]] = []
        while page := await broker.read(session.id, len(found), 70):
            assert len(page) <= 70
            found += page
        assert [seq for seq, _ in found] == list(range(1, 300))
        assert found[5] == (6, b"6")

    async def test_pages_of_large_events(self, broker: Broker) -> None:
        session = await make(broker)
        for _ in range(5):
            await session.append("x" * 100_000, "y" * 100_000)
        sizes: list[int] = []
        after = 1
        while page := await broker.read(session.id, after, 1000):
            assert page[0][0] == after + 1
            after = page[-1][0]
            sizes.append(len(page))
        assert sum(sizes) == 10
        assert max(sizes) <= 4, "an append is read whole"

    async def test_from_within_an_append(self, broker: Broker) -> None:
        session = await make(broker, "1", "2", "3", "4")
        assert list(await broker.read(session.id, 2, 10)) == [(3, b"3"), (4, b"4")]
        await session.append("5")
        assert len(await broker.read(session.id, 3, 2)) == 2

    async def test_at_and_beyond_the_head(self, broker: Broker) -> None:
        session = await make(broker, "1", "2")
        assert list(await broker.read(session.id, 2, 10)) == []
        assert list(await broker.read(session.id, 7, 10)) == []

    async def test_trimmed(self, broker: Broker) -> None:
        session = await make(broker)
        for text in "23456":
            await session.append(text)
        await broker.put_snapshot(session.id, session.epoch, 5, b"at 5", keep_events=2)
        for after in (0, 1, 2):
            with pytest.raises(Trimmed):
                await broker.read(session.id, after, 10)
        assert [seq for seq, _ in await broker.read(session.id, 3, 10)] == [4, 5, 6]

    async def test_everything_trimmed(self, broker: Broker) -> None:
        session = await make(broker, "1", "2")
        await broker.put_snapshot(session.id, session.epoch, 2, b"at 2", keep_events=0)
        with pytest.raises(Trimmed):
            await broker.read(session.id, 1, 10)
        assert list(await broker.read(session.id, 2, 10)) == []

    async def test_other_epoch(self, broker: Broker) -> None:
        session = await make(broker)
        assert len(await broker.read(session.id, 0, 10, epoch=session.epoch)) == 1
        with pytest.raises(EpochChanged) as caught:
            await broker.read(session.id, 0, 10, epoch="another")
        assert caught.value.epoch == session.epoch


class TestHeads:
    async def test_in_the_order_asked(self, broker: Broker) -> None:
        some = [await make(broker, *("x" * n)) for n in range(1, 9)]
        ids = [session.id for session in some]
        heads = await broker.heads([*ids, fresh(), *reversed(ids)])
        seqs = [None if head is None else head.seq for head in heads]
        assert seqs == [*range(1, 9), None, *range(8, 0, -1)]

    async def test_of_none(self, broker: Broker) -> None:
        assert list(await broker.heads([])) == []


class TestSnapshots:
    async def test_only_newer_of_this_epoch_and_not_past_the_head(self, broker: Broker) -> None:
        session = await make(broker, "1", "2", "3")

        async def put(seq: int, epoch: str = session.epoch) -> bool:
            return await broker.put_snapshot(
                session.id, epoch, seq, str(seq).encode(), keep_events=9
            )

        assert not await put(4)
        assert not await put(2, "another")
        assert await put(2)
        assert not await put(2)
        assert not await put(1)
        assert await put(3)
        assert (await broker.load(session.id)).snapshot == b"3"

    async def test_of_nothing(self, broker: Broker) -> None:
        assert not await broker.put_snapshot(fresh(), "e", 1, b"", keep_events=9)

    async def test_keeps_at_least_what_resume_wants(self, broker: Broker) -> None:
        session = await make(broker)
        for i in range(20):
            await session.append(f"{i}a", f"{i}b", f"{i}c")
        await broker.put_snapshot(session.id, session.epoch, 50, b"at 50", keep_events=10)
        assert (await broker.read(session.id, 40, 100))[0][0] == 41
        with pytest.raises(Trimmed):
            await broker.read(session.id, 35, 100)
        assert await session.append("more") == 62

    @pytest.mark.parametrize("keep", [0, 1, 2, 5, 6])
    async def test_keeps_exactly_that_of_single_events(self, broker: Broker, keep: int) -> None:
        session = await make(broker)
        for i in range(2, 8):
            await session.append(str(i))
        await broker.put_snapshot(session.id, session.epoch, 6, b"at 6", keep_events=keep)
        kept = await broker.read(session.id, 6 - keep, 100)
        assert [seq for seq, _ in kept] == list(range(7 - keep, 8))
        if keep < 6:
            with pytest.raises(Trimmed):
                await broker.read(session.id, 5 - keep, 100)

    @pytest.mark.parametrize(("keep", "left"), [(0, 1), (1, 2), (4, 2), (5, 3), (99, 6)])
    async def test_keeps_so_many_bytes(self, broker: Broker, keep: int, left: int) -> None:
        session = await make(broker, "created")
        for text in ("aaaa", "bbbb", "cccc", "dddd"):
            await session.append(text)
        assert await self.put(session, 5, keep_events=9, keep_bytes=keep)
        await session.append("eeee")
        assert (await self.oldest(session), left) == (6 - left + 1, left)

    async def test_an_append_is_kept_whole(self, broker: Broker) -> None:
        session = await make(broker, "created")
        await session.append("aaaa", "bbbb", "cccc")
        await session.append("dddd")
        await self.put(session, 5, keep_events=9, keep_bytes=6)
        assert await self.oldest(session) <= 4
        assert await session.append("e") == 6
        assert (await broker.load(session.id)).snapshot == b"at 5"

    async def test_keeps_what_is_young(self, broker: Broker) -> None:
        session = await make(broker, "created")
        await session.append("old")
        old = broker.now()
        await eventually(lambda: broker.now() > old + 1)
        await session.append("young")
        await self.put(session, 2, keep_events=9, keep_s=3600)
        assert await self.oldest(session) == 1
        await self.put(session, 3, keep_events=9, keep_s=broker.now() - old - 0.05)
        assert await self.oldest(session) == 3

    async def test_the_least_of_all_limits_is_kept(self, broker: Broker) -> None:
        for limits in (
            {"keep_events": 1, "keep_bytes": 999, "keep_s": 3600},
            {"keep_events": 99, "keep_bytes": 3, "keep_s": 3600},
            {"keep_events": 99, "keep_bytes": 999, "keep_s": -1},
        ):
            session = await make(broker, "created")
            for text in ("aaaa", "bbbb", "cccc"):
                await session.append(text)
            await self.put(session, 3, **limits)
            kept = 4 if limits["keep_s"] < 0 else 3
            assert await self.oldest(session) == kept, limits

    async def test_what_comes_after_the_snapshot_is_never_trimmed(self, broker: Broker) -> None:
        session = await make(broker, "created")
        for text in ("aaaa", "bbbb", "cccc"):
            await session.append(text)
        await self.put(session, 2, keep_events=0, keep_bytes=0, keep_s=-1)
        loaded = await broker.load(session.id)
        assert (loaded.snapshot, list(loaded.events)) == (b"at 2", [(3, b"bbbb"), (4, b"cccc")])

    async def test_bytes_are_counted_on_after_trimming(self, broker: Broker) -> None:
        session = await make(broker, "created")
        for round_ in range(1, 4):
            for text in ("aaaa", "bbbb", "cccc"):
                await session.append(text)
            await self.put(session, 1 + 3 * round_, keep_events=99, keep_bytes=8)
            assert await self.oldest(session) == 3 * round_

    async def put(self, session: Session, seq: int, **limits: Any) -> bool:
        text = b"at %d" % seq
        return await session.broker.put_snapshot(session.id, session.epoch, seq, text, **limits)

    async def oldest(self, session: Session) -> int:
        """The oldest seq that can be read."""
        head = (await session.head()).seq
        for after in range(head):
            try:
                return (await session.broker.read(session.id, after, 1))[0][0]
            except Trimmed:
                pass
        return head + 1


class TestDelete:
    async def test_missing_to_append_afterwards(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append("a", claimable_at=0.0, timer_at=1.0)
        assert await session.delete(expect_version=1, command=command("c:9")) == 3
        with pytest.raises(SessionMissing):
            await session.append("b")
        with pytest.raises(SessionMissing):
            await session.delete()
        assert await broker.claim("worker", [session.agent], lease_s=30) is None
        assert session.id not in await broker.due_timers(1000)

    async def test_what_is_left(self, broker: Broker) -> None:
        session = await make(broker, "1", "2")
        await broker.put_snapshot(session.id, session.epoch, 2, b"at 2", keep_events=9)
        await session.delete(command=command("c:9", "d", b"answer"))
        loaded = await broker.load(session.id, command="c:9")
        assert loaded.deleted
        assert (loaded.snapshot, list(loaded.events)) == (None, [])
        assert loaded.command is not None
        assert (loaded.command.answer, loaded.command.seq) == (b"answer", 3)
        assert (await session.head()).seq == 3
        assert list(await broker.read(session.id, 2, 10)) == [(3, b"deleted")]
        with pytest.raises(Trimmed):
            await broker.read(session.id, 1, 10)
        assert not await broker.put_snapshot(session.id, session.epoch, 3, b"", keep_events=9)

    async def test_is_checked_like_an_append(self, broker: Broker) -> None:
        session = await make(broker, command=command())
        with pytest.raises(EpochChanged):
            await session.delete(epoch="another")
        with pytest.raises(Duplicate):
            await session.delete(command=command())
        with pytest.raises(Conflict):
            await session.delete(expect_version=5)
        assert await session.append("alive") == 2

    async def test_ends_the_attempt(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append(claimable_at=0.0)
        fence = (await session.claim()).fence
        await session.delete()
        with pytest.raises(Fenced):
            await broker.renew(session.id, fence, lease_s=30)
        with pytest.raises(SessionMissing):
            await session.append("a", fence=fence, n=1)

    async def test_needs_an_event(self, broker: Broker) -> None:
        session = await make(broker)
        with pytest.raises(ValueError, match="event"):
            await broker.delete(session.appending())

    async def test_followers_hear_of_it(self, brokers: Brokers) -> None:
        session, ear = await make(brokers.one), Ear()
        await brokers.other.follow(session.id, ear)
        await session.delete()
        await eventually(lambda: ear.events() == [(2, b"deleted")])
        brokers.other.unfollow(session.id, ear)


class TestSessions:
    async def test_newest_first_in_pages(self, brokers: Brokers) -> None:
        owner = f"t:{fresh('o')}"
        made = [(await make(brokers.one, owner=owner)).id for _ in range(7)]
        other = brokers.other
        assert await other.sessions(owner, limit=7, before=None) == (made[::-1], False)
        assert await other.sessions(owner, limit=3, before=None) == (made[:3:-1], True)
        assert await other.sessions(owner, limit=3, before=made[4]) == (made[3:0:-1], True)
        assert await other.sessions(owner, limit=3, before=made[1]) == ([made[0]], False)

    async def test_without_deleted_ones(self, broker: Broker) -> None:
        owner = f"t:{fresh('o')}"
        made = [await make(broker, owner=owner) for _ in range(4)]
        await made[2].delete()
        ids = [session.id for session in made]
        assert await broker.sessions(owner, limit=9, before=None) == (
            [ids[3], ids[1], ids[0]],
            False,
        )
        assert await broker.sessions(owner, limit=9, before=ids[2]) == ([ids[1], ids[0]], False)

    async def test_of_strangers(self, broker: Broker) -> None:
        session = await make(broker)
        assert await broker.sessions("t:nobody", limit=9, before=None) == ([], False)
        assert await broker.sessions(session.owner, limit=9, before=fresh()) == ([], False)


class TestShare:
    async def test_who_is_let_in_sees_it_and_nobody_else(self, brokers: Brokers) -> None:
        session = await make(brokers.one, "a", "b")
        guest, other = f"t:{fresh('g')}", f"t:{fresh('g')}"
        for access in ("read", "act"):
            assert await brokers.one.share(session.id, guest, access) is True
            loaded = await brokers.other.load(session.id, asker=Asker(guest))
            assert (loaded.share, loaded.withheld) == (access, False)
            assert loaded.events == (await brokers.other.load(session.id)).events
            assert (loaded.owner, loaded.agent) == (session.owner, session.agent)
        assert await brokers.other.shares(session.id) == {guest: "act"}
        await brokers.other.share(session.id, guest, None)
        for asker in (guest, other):
            loaded = await brokers.one.load(session.id, asker=Asker(asker))
            assert (loaded.share, loaded.withheld) == (None, True)
            assert (loaded.snapshot, list(loaded.events)) == (None, [])
            assert (loaded.owner, loaded.agent) == (session.owner, session.agent)
            assert loaded.head == await session.head()
        mine = await brokers.one.load(session.id, asker=Asker(session.owner))
        assert (mine.share, mine.withheld, len(mine.events)) == (None, False, 2)

    async def test_a_withheld_one_has_no_snapshot(self, broker: Broker) -> None:
        session = await make(broker, "a", "b")
        await broker.put_snapshot(session.id, session.epoch, 2, b"state", keep_events=0)
        loaded = await broker.load(session.id, asker=Asker("t:stranger"))
        assert (loaded.snapshot, loaded.snapshot_seq, list(loaded.events)) == (None, 0, [])
        assert (await broker.load(session.id, asker=Asker(session.owner))).snapshot == b"state"

    async def test_commands_of_others_have_keys_of_their_own(self, broker: Broker) -> None:
        guest = f"t:{fresh('g')}"
        session = await make(broker, command=command("c:1", "owners"))
        await broker.share(session.id, guest, "act")
        await session.append("x", command=command("p_g:c:1", "guests"))

        async def stored(owner: str) -> str | None:
            asker = Asker(owner, "p_g:c:1")
            found = (await broker.load(session.id, command="c:1", asker=asker)).command
            return None if found is None else f"{found.key} {found.digest}"

        assert await stored(session.owner) == "c:1 owners"
        assert await stored(guest) == "p_g:c:1 guests"
        assert await stored("t:stranger") is None

    async def test_it_is_in_the_lists_of_those_who_are_let_in(self, brokers: Brokers) -> None:
        guest = f"t:{fresh('g')}"
        own = await make(brokers.one, owner=guest)
        session = await make(brokers.one)
        await brokers.one.share(session.id, guest, "read")
        await brokers.one.share(session.id, guest, "act")
        found = await brokers.other.sessions(guest, limit=9, before=None)
        assert found == ([session.id, own.id], False)
        assert await brokers.other.owned(guest) == 1
        await brokers.other.share(session.id, guest, None)
        assert await brokers.one.sessions(guest, limit=9, before=None) == ([own.id], False)
        assert await brokers.one.owned(guest) == 1

    async def test_what_is_deleted_is_shared_no_more(self, broker: Broker) -> None:
        guest = f"t:{fresh('g')}"
        session = await make(broker)
        await broker.share(session.id, guest, "read")
        await session.delete()
        assert await broker.sessions(guest, limit=9, before=None) == ([], False)
        for call in (broker.share(session.id, guest, "act"), broker.shares(session.id)):
            with pytest.raises(SessionMissing):
                await call
        with pytest.raises(SessionMissing):
            await broker.share(fresh(), guest, "read")
        with pytest.raises(SessionMissing):
            await broker.shares(fresh())

    async def test_only_so_many(self, broker: Broker) -> None:
        session = await make(broker)
        guests = [f"t:{fresh('g')}" for _ in range(3)]
        assert [await broker.share(session.id, g, "read", most=2) for g in guests] == [
            True,
            True,
            False,
        ]
        assert await broker.share(session.id, guests[0], "act", most=2) is True
        assert await broker.shares(session.id) == {guests[0]: "act", guests[1]: "read"}
        assert await broker.sessions(guests[2], limit=9, before=None) == ([], False)

    async def test_appends_leave_the_shares(self, broker: Broker) -> None:
        session, guest = await make(broker), f"t:{fresh('g')}"
        await broker.share(session.id, guest, "read")
        await session.append("x", control=1, expect_version=1, raise_fence=True)
        assert await broker.shares(session.id) == {guest: "read"}


class TestOccupy:
    async def test_so_many_and_then_who_is_in(self, brokers: Brokers) -> None:
        owner = f"t:{fresh('o')}"

        async def occupy(broker: Broker, session: str, version: int = 1) -> Any:
            return await broker.occupy(owner, session, version, most=2, ttl_s=60)

        assert await occupy(brokers.one, "a") is None
        assert await occupy(brokers.other, "b") is None
        assert await occupy(brokers.other, "a", 5) is None
        assert set(await occupy(brokers.one, "c")) == {"a", "b"}
        assert await occupy(brokers.other, "c") == []
        await brokers.one.vacate(owner, "a", 5)  # of a run before
        assert await occupy(brokers.one, "c") == []
        await brokers.one.vacate(owner, "a", 6)
        assert await occupy(brokers.other, "c") is None
        assert await brokers.one.occupy(f"t:{fresh('o')}", "c", 1, most=2, ttl_s=60) is None

    async def test_racers(self, brokers: Brokers) -> None:
        owner = f"t:{fresh('o')}"
        calls = [
            broker.occupy(owner, fresh(), 1, most=5, ttl_s=60)
            for broker in (brokers.one, brokers.other)
            for _ in range(10)
        ]
        assert sum(answer is None for answer in await outcomes(calls)) == 5


class TestSize:
    async def test_of_all_events_that_ever_were(self, broker: Broker) -> None:
        session = await make(broker, "abc", "de")
        await session.append("fghi")
        assert (await broker.load(session.id)).log_bytes == 9
        await broker.put_snapshot(session.id, session.epoch, 3, b"state", keep_events=0)
        assert (await broker.load(session.id)).log_bytes == 9


class TestFollow:
    async def test_everything_once_and_in_order(self, brokers: Brokers) -> None:
        session = await make(brokers.one)
        ears = [Ear(), Ear(), Ear()]
        for ear, broker in zip(ears, (brokers.one, brokers.other, brokers.other), strict=True):
            await broker.follow(session.id, ear)

        async def write(broker: Broker, name: str) -> None:
            for i in range(50):
                await broker.append(session.appending(f"{name}{i}", f"{name}{i}+"))

        async with asyncio.TaskGroup() as group:
            for i in range(4):
                group.create_task(write(brokers[i % 2], f"w{i}-"))
        expected = await session.events(1)
        for ear in ears:
            await eventually(lambda ear=ear: ear.events() == expected, what="all the events")
            assert {news.epoch for news in ear.heard} == {session.epoch}
            assert all(news.session == session.id for news in ear.heard)
            assert all(news.last - news.first + 1 == len(news.bodies) for news in ear.heard)

    async def test_carries_the_version(self, broker: Broker) -> None:
        session, ear = await make(broker), Ear()
        await broker.follow(session.id, ear)
        await session.append("a", "b", control=1)
        await session.append("c")
        await eventually(lambda: len(ear.heard) == 2)
        assert [news.version for news in ear.heard] == [2, 2]

    async def test_never_inside_append(self, broker: Broker) -> None:
        session, ear, callers = await make(broker), Ear(), set[str]()

        def follower(_: object) -> None:
            callers.update(frame.name for frame in traceback.extract_stack())

        await broker.follow(session.id, follower)
        await broker.follow(session.id, ear)
        await session.append("a")
        await eventually(lambda: ear.heard)
        assert "follower" in callers
        assert not callers & {"append", "_append"}

    async def test_nothing_after_unfollow(self, broker: Broker) -> None:
        session, gone, there = await make(broker), Ear(), Ear()
        await broker.follow(session.id, gone)
        await broker.follow(session.id, there)
        await session.append("a")
        await eventually(lambda: len(gone.heard) == len(there.heard) == 1)
        broker.unfollow(session.id, gone)
        await session.append("b")
        await eventually(lambda: len(there.heard) == 2)
        assert len(gone.heard) == 1

    async def test_is_reference_counted(self, broker: Broker) -> None:
        session, ear = await make(broker), Ear()
        await broker.follow(session.id, ear)
        await broker.follow(session.id, ear)
        await session.append("a")
        await eventually(lambda: ear.events() == [(2, b"a")])
        broker.unfollow(session.id, ear)
        await session.append("b")
        await eventually(lambda: ear.events() == [(2, b"a"), (3, b"b")])
        broker.unfollow(session.id, ear)
        broker.unfollow(session.id, ear)

    async def test_one_followers_fault_is_its_own(self, broker: Broker) -> None:
        session, ear = await make(broker), Ear()
        loop, reported = asyncio.get_running_loop(), list[str]()

        def failing(_: object) -> None:
            raise ValueError("mine")

        loop.set_exception_handler(lambda _, context: reported.append(context["message"]))
        try:
            await broker.follow(session.id, failing)
            await broker.follow(session.id, ear)
            await session.append("a")
            await eventually(lambda: ear.events() == [(2, b"a")])
        finally:
            loop.set_exception_handler(None)
        assert reported == [f"a follower of {session.id} failed"]

    async def test_many_at_once(self, brokers: Brokers) -> None:
        some = [await make(brokers.one) for _ in range(100)]
        ear = Ear()
        await outcomes([brokers.other.follow(session.id, ear) for session in some])
        await outcomes([session.append("a") for session in some])
        await eventually(lambda: len(ear.heard) == 100)
        assert {news.session for news in ear.heard} == {session.id for session in some}

    async def test_confirmed_before_it_returns(self, brokers: Brokers) -> None:
        for _ in range(30):
            session, ear = await make(brokers.one), Ear()
            await brokers.other.follow(session.id, ear)
            await session.append("a")
            await eventually(lambda ear=ear: ear.events() == [(2, b"a")])

    async def test_large_ones_come_whole_or_as_a_hint(self, broker: Broker) -> None:
        session, ear = await make(broker), Ear()
        await broker.follow(session.id, ear)
        await session.append("x" * 40_000, "y" * 40_000)
        await eventually(lambda: ear.heard)
        (news,) = ear.heard
        assert (news.epoch, news.first, news.last) == (session.epoch, 2, 3)
        assert [len(body) for body in news.bodies] in ([], [40_000, 40_000])
        assert [len(body) for _, body in await broker.read(session.id, 1, 9)] == [40_000, 40_000]


class TestClaim:
    async def test_nothing_to_claim(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append("a")
        assert await broker.claim("worker", [session.agent], lease_s=30) is None
        assert await broker.claim("worker", [], lease_s=30) is None

    async def test_raises_the_fence_and_holds(self, brokers: Brokers) -> None:
        session = await make(brokers.one)
        await session.append("queued", control=1, claimable_at=brokers.one.now())
        claimed = await claimed_in_time(brokers.other, session.agent)
        assert (claimed.session, claimed.epoch) == (session.id, session.epoch)
        assert claimed.fence == (await session.head()).fence > 0
        assert claimed.lost is False
        assert claimed.lease_until == pytest.approx(brokers.one.now() + 30, abs=2)
        assert await brokers.one.claim("worker", [session.agent], lease_s=30) is None

    async def test_only_for_agents_the_worker_has(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append(claimable_at=0.0)
        assert await broker.claim("worker", [fresh("agent")], lease_s=30) is None
        claimed = await broker.claim("worker", [fresh("agent"), session.agent], lease_s=30)
        assert claimed is not None

    async def test_not_before_its_time(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append(claimable_at=broker.now() + 3600)
        assert await broker.claim("worker", [session.agent], lease_s=30) is None
        await session.append(claimable_at=broker.now() + 0.05)
        assert (await claimed_in_time(broker, session.agent)).lost is False

    async def test_each_goes_to_one_worker(self, brokers: Brokers) -> None:
        agent = fresh("agent")
        some = [await make(brokers.one, agent=agent) for _ in range(40)]
        await outcomes([session.append(claimable_at=0.0) for session in some])
        taken: list[str] = []

        async def work(broker: Broker, name: str) -> None:
            while (claimed := await broker.claim(name, [agent], lease_s=30)) is not None:
                taken.append(claimed.session)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for i in range(10):
                group.create_task(work(brokers[i % 2], f"w{i}"))
        assert sorted(taken) == sorted(session.id for session in some)

    async def test_lost_lease(self, brokers: Brokers) -> None:
        session = await make(brokers.one)
        await session.append(claimable_at=0.0)
        first = await session.claim(lease_s=0.05)
        second = await claimed_in_time(brokers.other, session.agent)
        assert second.lost is True
        assert second.fence > first.fence
        with pytest.raises(Fenced):
            await session.append("zombie", fence=first.fence, n=1)
        with pytest.raises(Fenced):
            await brokers.one.renew(session.id, first.fence, lease_s=30)
        assert await session.append("alive", fence=second.fence, n=1) == 2

    async def test_late_renewal_while_nobody_took_it(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append(claimable_at=0.0)
        fence = (await session.claim(lease_s=0.0)).fence
        end = await broker.renew(session.id, fence, lease_s=30)
        assert end == pytest.approx(broker.now() + 30, abs=2)
        assert await broker.claim("worker", [session.agent], lease_s=30) is None
        await session.append("still mine", fence=fence, n=1)

    async def test_held_session_is_not_made_claimable(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append(claimable_at=0.0)
        fence = (await session.claim()).fence
        await session.append("result", control=1, claimable_at=0.0)
        assert await broker.claim("worker", [session.agent], lease_s=30) is None
        await session.append("end", fence=fence, n=1, raise_fence=True, claimable_at=0.0)
        assert (await session.claim()).lost is False

    async def test_end_without_a_next_run(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append(claimable_at=0.0)
        fence = (await session.claim(lease_s=0.0)).fence
        await session.append("end", fence=fence, n=1, raise_fence=True)
        assert await broker.claim("worker", [session.agent], lease_s=30) is None

    async def test_queued_run_is_taken_back(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append(claimable_at=0.0)
        await session.append("cancelled", control=1, raise_fence=True)
        assert await broker.claim("worker", [session.agent], lease_s=30) is None


class TestRelease:
    async def held(self, broker: Broker) -> tuple[Session, int]:
        session = await make(broker)
        await session.append(claimable_at=0.0)
        return session, (await session.claim()).fence

    async def test_claimable_at_a_time(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        await broker.release(session.id, fence, claimable_at=broker.now())
        again = await claimed_in_time(broker, session.agent)
        assert (again.lost, again.fence > fence) == (False, True)

    async def test_parked_until_an_append_says_so(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        await broker.release(session.id, fence, claimable_at=None, expect_version=1)
        assert await broker.claim("worker", [session.agent], lease_s=30) is None
        with pytest.raises(Fenced):
            await broker.renew(session.id, fence, lease_s=30)
        await session.append("result", control=1, expect_version=1, claimable_at=0.0)
        assert (await session.claim()).lost is False

    async def test_not_if_something_happened(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        await session.append("result", control=1, claimable_at=0.0)
        with pytest.raises(Conflict):
            await broker.release(session.id, fence, claimable_at=None, expect_version=1)
        await broker.renew(session.id, fence, lease_s=30)

    async def test_of_what_is_not_held(self, broker: Broker) -> None:
        session, fence = await self.held(broker)
        with pytest.raises(Fenced):
            await broker.release(session.id, fence - 1, claimable_at=None)
        with pytest.raises(Fenced):
            await broker.release(fresh(), 1, claimable_at=None)
        with pytest.raises(Fenced):
            await broker.renew(fresh(), 1, lease_s=30)


class TestWaitClaimable:
    async def test_wakes_when_something_comes(self, brokers: Brokers) -> None:
        session = await make(brokers.one)
        assert await brokers.other.claim("worker", [session.agent], lease_s=30) is None

        async def wait_and_claim() -> Claimed | None:
            claimed = None
            while claimed is None:
                await brokers.other.wait_claimable([session.agent], 30)
                claimed = await brokers.other.claim("worker", [session.agent], lease_s=30)
            return claimed

        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(wait_and_claim())
            await session.append(claimable_at=brokers.one.now())
        claimed = waiting.result()
        assert claimed is not None
        assert claimed.session == session.id

    async def test_returns_after_its_time(self, broker: Broker) -> None:
        agent = fresh("agent")
        assert await broker.claim("worker", [agent], lease_s=30) is None
        async with asyncio.timeout(5):
            await broker.wait_claimable([agent], 0.01)

    async def test_returns_at_once_if_something_is_there(self, broker: Broker) -> None:
        session = await make(broker)
        await session.append(claimable_at=0.0)
        async with asyncio.timeout(5):
            await broker.wait_claimable([session.agent], math.inf)


class TestTimers:
    async def test_due_ones(self, broker: Broker) -> None:
        due, later, none = [await make(broker) for _ in range(3)]
        await due.append("a", timer_at=broker.now() - 1)
        await later.append("a", timer_at=broker.now() + 3600)
        await none.append("a")
        found = await broker.due_timers(1000)
        assert due.id in found
        assert later.id not in found
        assert none.id not in found

    async def test_handed_to_one_process_per_second(self, brokers: Brokers) -> None:
        some = [await make(brokers.one) for _ in range(10)]
        for session in some:
            await session.append("a", timer_at=brokers.one.now() - 1)
        given = await outcomes([brokers[i % 2].due_timers(1000) for i in range(8)])
        every = [session for found in given for session in found]
        assert sorted(every) == sorted(session.id for session in some)

        async def again() -> bool:
            return some[0].id in await brokers.one.due_timers(1000)

        await eventually(again, what="a timer that stays due is handed out again")

    async def test_at_most_so_many(self, broker: Broker) -> None:
        for _ in range(5):
            await (await make(broker)).append("a", timer_at=0.0)
        found = [*await broker.due_timers(3), *await broker.due_timers(3)]
        assert len(found) == len(set(found)) == 5

    async def test_first_one_comes_with_the_session(self, broker: Broker) -> None:
        late, due = await make(broker, timer_at=4e9), await make(broker, timer_at=1.0)
        assert set(await broker.due_timers(1000)) & {late.id, due.id} == {due.id}

    async def test_moved_and_taken_away(self, broker: Broker) -> None:
        moved, taken, kept = [await make(broker) for _ in range(3)]
        for session in (moved, taken, kept):
            await session.append("a", timer_at=0.0)
        await moved.append("b", timer_at=broker.now() + 3600)
        await taken.append("b", timer_at=math.inf)
        await kept.append("b")
        assert await broker.due_timers(1000) == [kept.id]

    async def test_set_unless_the_version_is_another(self, broker: Broker) -> None:
        set_, late, cleared, kept = [await make(broker) for _ in range(4)]
        await cleared.append(timer_at=0.0)
        await kept.append(timer_at=0.0)
        await broker.set_timer(set_.id, 0.0, expect_version=1)
        await broker.set_timer(late.id, 0.0, expect_version=0)
        await broker.set_timer(cleared.id, None, expect_version=1)
        await broker.set_timer(kept.id, None, expect_version=2)
        await broker.set_timer(fresh(), 0.0, expect_version=1)
        assert sorted(await broker.due_timers(1000)) == sorted([set_.id, kept.id])


class TestControl:
    async def test_every_process_hears_it(self, brokers: Brokers) -> None:
        one, other = list[bytes](), list[bytes]()
        brokers.one.on_control(one.append)
        brokers.other.on_control(other.append)
        await brokers.one.publish_control(b"superseded\n{}")
        await brokers.other.publish_control(b"2")
        for heard in (one, other):
            await eventually(lambda h=heard: h == [b"superseded\n{}", b"2"])

    async def test_one_listeners_fault_is_its_own(self, broker: Broker) -> None:
        heard, faults = list[bytes](), list[str]()

        def fail(_: bytes) -> None:
            raise RuntimeError("not me")

        broker.on_control(fail)
        broker.on_control(heard.append)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: faults.append(context["message"]))
        try:
            await broker.publish_control(b"1")
            await eventually(lambda: heard == [b"1"])
        finally:
            loop.set_exception_handler(None)
        assert len(faults) == 1

    async def test_never_inside_publish(self, broker: Broker) -> None:
        stacks: list[str] = []
        broker.on_control(lambda _: stacks.append("".join(traceback.format_stack())))
        await broker.publish_control(b"1")
        await eventually(lambda: stacks)
        assert "publish_control" not in stacks[0]


async def test_clock_is_one(brokers: Brokers) -> None:
    assert brokers.one.now() == pytest.approx(brokers.other.now(), abs=2)


async def test_healthy(broker: Broker) -> None:
    assert broker.healthy


async def test_close_is_idempotent(broker: Broker) -> None:
    await broker.close()
    await broker.close()


async def test_create_says_the_head(broker: Broker) -> None:
    create = Create(session=fresh(), owner="t:o", agent="a", bodies=bodies("1", "2"), control=1)
    head = await broker.create(create)
    assert (head.seq, head.version, head.fence) == (2, 1, 0)


class TestKeep:
    async def test_it_is_taken_once(self, brokers: Brokers) -> None:
        key, value = fresh("k"), b"\x00\xff value"
        await brokers.one.keep(key, value, ttl_s=60)
        assert await brokers.other.take(key) == value
        assert await brokers.one.take(key) is None

    async def test_of_many_who_take_at_once_one_gets_it(self, brokers: Brokers) -> None:
        key = fresh("k")
        await brokers.one.keep(key, b"v", ttl_s=60)
        got = await outcomes([brokers[i % 2].take(key) for i in range(50)])
        assert (got.count(b"v"), got.count(None)) == (1, 49)

    async def test_its_time_ends(self, broker: Broker) -> None:
        gone, there = fresh("k"), fresh("k")
        await broker.keep(gone, b"v", ttl_s=0.01)
        await broker.keep(there, b"v", ttl_s=60)
        end = broker.now() + 0.05
        await eventually(lambda: broker.now() > end)
        assert await broker.take(gone) is None
        assert await broker.take(there) == b"v"

    async def test_a_newer_value_takes_the_place(self, broker: Broker) -> None:
        key = fresh("k")
        await broker.keep(key, b"old", ttl_s=0.01)
        await broker.keep(key, b"new", ttl_s=60)
        end = broker.now() + 0.05
        await eventually(lambda: broker.now() > end)
        assert await broker.take(key) == b"new"

    async def test_nothing_was_kept(self, broker: Broker) -> None:
        assert await broker.take(fresh("k")) is None


class TestPost:
    async def test_everybody_reads_it_again_and_again(self, brokers: Brokers) -> None:
        board, until = fresh("b"), brokers.one.now() + 60
        await brokers.one.post(board, b"one", until=until)
        await brokers.other.post(board, b"two\n\xff", until=until)
        for broker in (*brokers, *brokers):
            assert set(await broker.posted(board)) == {b"one", b"two\n\xff"}
        assert await brokers.one.posted(fresh("b")) == []

    async def test_each_ends_at_its_time(self, broker: Broker) -> None:
        board, now = fresh("b"), broker.now()
        await broker.post(board, b"long", until=now + 60)
        await broker.post(board, b"short", until=now + 0.2)
        await broker.post(board, b"past", until=now - 1)
        assert b"long" in await broker.posted(board)
        assert b"past" not in await broker.posted(board)

        async def alone() -> bool:
            return await broker.posted(board) == [b"long"]

        await eventually(alone)

    async def test_the_same_again_never_lasts_less(self, broker: Broker) -> None:
        board, now = fresh("b"), broker.now()
        await broker.post(board, b"n", until=now + 60)
        await broker.post(board, b"n", until=now + 0.1)
        await broker.post(board, b"m", until=now + 0.1)
        await broker.post(board, b"m", until=now + 60)
        await eventually(lambda: broker.now() > now + 0.15)
        assert set(await broker.posted(board)) == {b"n", b"m"}


class TestAnnounce:
    """D1: one record per process."""

    async def test_everybody_reads_it(self, brokers: Brokers) -> None:
        one, two = fresh("p"), fresh("p")
        await brokers.one.announce(one, b'{"role":"worker"}')
        await brokers.other.announce(two, b"two\n\xff")
        for broker in brokers:
            found = {a.process: a for a in await broker.announced()}
            assert found[one].record == b'{"role":"worker"}'
            assert found[two].record == b"two\n\xff"
            assert 0 <= found[one].age_s < GONE_S

    async def test_said_again_it_is_the_newer_record(self, broker: Broker) -> None:
        process = fresh("p")
        await broker.announce(process, b"old")
        await broker.announce(process, b"new")
        assert [a.record for a in await broker.announced() if a.process == process] == [b"new"]

    async def test_withdrawn_it_is_gone_at_once(self, brokers: Brokers) -> None:
        gone, stays = fresh("p"), fresh("p")
        await brokers.one.announce(gone, b"r")
        await brokers.one.announce(stays, b"r")
        await brokers.other.withdraw(gone)
        await brokers.other.withdraw(fresh("p"))
        there = {a.process for a in await brokers.one.announced()}
        assert gone not in there
        assert stays in there


class TestOffer:
    """D1, D2: the agents that processes have, with their descriptions."""

    async def test_everybody_reads_them(self, brokers: Brokers) -> None:
        cook, baker = fresh("cook"), fresh("baker")
        await brokers.one.offer({cook: "Cooks – ü".encode(), baker: b""})
        for broker in brokers:
            offered = await broker.offered()
            assert offered.agents[cook].decode() == "Cooks – ü"
            assert offered.agents[baker] == b""
            assert offered.since <= broker.now() + 1

    async def test_the_newest_description_counts(self, brokers: Brokers) -> None:
        cook = fresh("cook")
        await brokers.one.offer({cook: b"Boils."})
        await brokers.other.offer({cook: b"Bakes."})
        assert (await brokers.one.offered()).agents[cook] == b"Bakes."

    async def test_offering_nothing_changes_nothing(self, broker: Broker) -> None:
        cook = fresh("cook")
        await broker.offer({cook: b""})
        before = await broker.offered()
        await broker.offer({})
        assert await broker.offered() == before

    async def test_they_stay_when_their_process_has_ended(self, broker: Broker) -> None:
        process, cook = fresh("p"), fresh("cook")
        await broker.announce(process, b"r")
        await broker.offer({cook: b""})
        await broker.withdraw(process)
        assert cook in (await broker.offered()).agents

    async def test_since_does_not_move_while_there_are_some(self, broker: Broker) -> None:
        await broker.offer({fresh("cook"): b""})
        before = (await broker.offered()).since
        await broker.offer({fresh("cook"): b""})
        assert (await broker.offered()).since == before
