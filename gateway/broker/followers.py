"""Who of this process follows which session: counting and calling, no I/O."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

from gateway.broker.base import Follower, News, OnControl


@runtime_checkable
class Hearer(Protocol):
    """A follower that can take news as it is published, without a `News`."""

    def hear(self, epoch: bytes, first: bytes, count: bytes, text: bytes, /) -> bool:
        """False: nothing was done, call it with the `News`.

        `text` holds the bodies, one per line, each without its opening brace.
        """
        ...


class Followers:
    """Followers by session, reference counted; one's fault does not touch another."""

    def __init__(self) -> None:
        # session -> follower -> how often it follows
        self._counts: dict[str, dict[Follower, int]] = {}
        # session -> whom to call: they change while they are called
        self._called: dict[str, tuple[Follower, ...]] = {}
        self._on_control: list[OnControl] = []

    def __contains__(self, session: str) -> bool:
        return session in self._counts

    def add(self, session: str, follower: Follower) -> None:
        counts = self._counts.setdefault(session, {})
        counts[follower] = counts.get(follower, 0) + 1
        self._called[session] = tuple(counts)

    def remove(self, session: str, follower: Follower) -> bool:
        """Takes one reference away; whether that was the session's last."""
        counts = self._counts.get(session, {})
        if follower not in counts:
            return False
        counts[follower] -= 1
        if not counts[follower]:
            del counts[follower]
            self._called[session] = tuple(counts)
        if counts:
            return False
        del self._counts[session], self._called[session]
        return True

    def hearer(self, session: str) -> Hearer | None:
        """The session's follower if it is one, and a `Hearer`."""
        called = self._called.get(session, ())
        return called[0] if len(called) == 1 and isinstance(called[0], Hearer) else None

    def clear(self) -> None:
        self._counts.clear()
        self._called.clear()
        self._on_control.clear()

    def add_control(self, heard: OnControl) -> None:
        self._on_control.append(heard)

    def tell_control(self, message: bytes) -> None:
        """Calls who wants to hear words from process to process."""
        for heard in tuple(self._on_control):
            try:
                heard(message)
            except Exception as error:  # noqa: BLE001 - reported, and the others still hear
                report(error, "a listener to control messages")

    def tell(self, news: News) -> None:
        """Calls every follower of the session, also when one of them unfollows meanwhile."""
        for follower in self._called.get(news.session, ()):
            try:
                follower(news)
            except Exception as error:  # noqa: BLE001 - reported, and the others still hear
                report(error, f"a follower of {news.session}")

    def tell_all(self) -> None:
        """Something may be missing, in every session."""
        self.tell_where(lambda _: True)

    def tell_where(self, may_miss: Callable[[str], bool]) -> None:
        """Something may be missing, in the sessions it says."""
        self.tell_each([session for session in self._counts if may_miss(session)])

    def tell_each(self, sessions: Iterable[str]) -> None:
        for session in sessions:
            self.tell(News(session, "", 0, 0, 0, ()))


def report(error: Exception, who: str) -> None:
    """Tells the loop's exception handler."""
    asyncio.get_running_loop().call_exception_handler(
        {"message": f"{who} failed", "exception": error}
    )
