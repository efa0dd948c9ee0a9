from gateway.broker.base import News
from gateway.broker.followers import Followers
from tests.broker.driving import Ear


def news(session: str) -> News:
    return News(session, "e", 1, 1, 1, (b"a",))


def test_counts() -> None:
    followers, ear, other = Followers(), Ear(), Ear()
    followers.add("s", ear)
    followers.add("s", ear)
    followers.add("s", other)
    followers.tell(news("s"))
    followers.tell(news("t"))
    assert len(ear.heard) == len(other.heard) == 1
    assert [followers.remove("s", who) for who in (ear, other, other, ear, ear)] == [
        False,
        False,
        False,
        True,
        False,
    ]
    assert "s" not in followers


def test_may_leave_while_being_told() -> None:
    followers, ear = Followers(), Ear()

    def leaving(_: News) -> None:
        followers.remove("s", leaving)
        followers.remove("s", ear)

    followers.add("s", leaving)
    followers.add("s", ear)
    followers.tell(news("s"))
    followers.tell(news("s"))
    assert len(ear.heard) <= 1
    assert "s" not in followers


def test_all_are_told_to_look() -> None:
    followers, ear = Followers(), Ear()
    for session in "st":
        followers.add(session, ear)
    followers.tell_all()
    assert [(n.session, n.epoch, n.last, n.bodies) for n in ear.heard] == [
        ("s", "", 0, ()),
        ("t", "", 0, ()),
    ]
    followers.clear()
    followers.tell_all()
    assert len(ear.heard) == 2


class Keen(Ear):
    """A follower that takes what is published."""

    def hear(self, epoch: bytes, first: bytes, count: bytes, text: bytes) -> bool:
        return bool(epoch and first and count and text)


def test_one_that_hears_what_is_published_must_be_the_only_one() -> None:
    followers, keen, ear = Followers(), Keen(), Ear()
    assert followers.hearer("s") is None
    followers.add("s", ear)
    assert followers.hearer("s") is None
    followers.add("s", keen)
    assert followers.hearer("s") is None
    followers.remove("s", ear)
    assert followers.hearer("s") is keen
    followers.add("s", keen)
    assert followers.hearer("s") is keen
