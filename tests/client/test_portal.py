"""The way into a loop of another thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.client.errors import GatewayError
from gateway.client.portal import Portal


@pytest.fixture
def portal() -> Iterator[Portal]:
    portal = Portal()
    yield portal
    portal.close()


async def where() -> threading.Thread:
    return threading.current_thread()


def test_calls_run_in_its_thread_and_pass_on_what_is_raised(portal: Portal) -> None:
    assert portal.call(where()) is not threading.current_thread()

    async def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        portal.call(fail())


def test_a_call_that_takes_too_long_is_cancelled(portal: Portal) -> None:
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        portal.call(wait(), timeout=0.05)
    assert cancelled.wait(5)


def test_leaving_an_iteration_ends_it_there_too(portal: Portal) -> None:
    ended = threading.Event()

    async def count() -> AsyncIterator[int]:
        try:
            for number in range(10):
                yield number
        finally:
            ended.set()

    assert list(portal.iterate(count())) == list(range(10))
    ended.clear()
    numbers = portal.iterate(count())
    assert next(numbers) == 0
    numbers.close()  # type: ignore[attr-defined] - it is a generator
    assert ended.is_set()


def test_from_its_own_thread_it_would_wait_for_ever(portal: Portal) -> None:
    async def inside() -> None:
        portal.call(where())

    with pytest.raises(RuntimeError, match="AsyncClient"):
        portal.call(inside())


def test_closing_twice_is_closing_once() -> None:
    portal = Portal()
    portal.close()
    portal.close()
    assert portal.closed


def test_closing_ends_the_calls_of_other_threads() -> None:
    portal = Portal()
    began, cleaned_up = threading.Event(), threading.Event()

    async def wait() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned_up.set()

    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(portal.call, wait(), 20)
        assert began.wait(10)
        portal.close()
        with pytest.raises(GatewayError) as refused:
            waiting.result()
    assert refused.value.code == "client.closed"
    assert cleaned_up.is_set()


def test_a_closed_one_refuses_calls_and_lets_iterations_be_left() -> None:
    portal = Portal()

    async def count() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    numbers = portal.iterate(count())
    assert next(numbers) == 0
    portal.close()
    with pytest.raises(GatewayError) as refused:
        portal.call(where())
    assert refused.value.code == "client.closed"
    numbers.close()  # type: ignore[attr-defined] - it is a generator
