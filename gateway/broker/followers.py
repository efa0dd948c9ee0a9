"""Who of this process follows which session: counting and calling, no I/O."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from gateway.broker.base import Follower, News, OnControl

T = TypeVar("T")


class Followers:
    """Followers by session, reference counted; one's fault does not touch another."""

    def __init__(self) -> None:
        # session -> follower -> how often it follows
        self._counts: dict[str, dict[Follower, int]] = {}
        self._on_control: list[OnControl] = []

    def __contains__(self, session: str) -> bool:
        return session in self._counts

    def add(self, session: str, follower: Follower) -> None:
        counts = self._counts.setdefault(session, {})
        counts[follower] = counts.get(follower, 0) + 1

    def remove(self, session: str, follower: Follower) -> bool:
        """Takes one reference away; whether that was the session's last."""
        counts = self._counts.get(session, {})
        if follower not in counts:
            return False
        counts[follower] -= 1
        if not counts[follower]:
            del counts[follower]
        if counts:
            return False
        del self._counts[session]
        return True

    def clear(self) -> None:
        self._counts.clear()
        self._on_control.clear()

    def add_control(self, heard: OnControl) -> None:
        self._on_control.append(heard)

    def tell_control(self, message: bytes) -> None:
        """Calls who wants to hear words from process to process."""
        for heard in tuple(self._on_control):
            _call(heard, message, "a listener to control messages")

    def tell(self, news: News) -> None:
        """Calls every follower of the session, also when one of them unfollows meanwhile."""
        for follower in tuple(self._counts.get(news.session, ())):
            _call(follower, news, f"a follower of {news.session}")

    def tell_all(self) -> None:
        """Something may be missing, in every session."""
        self.tell_where(lambda _: True)

    def tell_where(self, may_miss: Callable[[str], bool]) -> None:
        """Something may be missing, in the sessions it says."""
        self.tell_each([session for session in self._counts if may_miss(session)])

    def tell_each(self, sessions: Iterable[str]) -> None:
        for session in sessions:
            self.tell(News(session, "", 0, 0, 0, ()))


def _call(heard: Callable[[T], None], what: T, who: str) -> None:
    try:
        heard(what)
    except Exception as error:  # noqa: BLE001 - reported, and the others still hear
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"{who} failed", "exception": error}
        )
