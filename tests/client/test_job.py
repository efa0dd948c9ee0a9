"""One call in this client: what goes up, and in which order."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from gateway.client import job as jobs
from gateway.client.errors import GatewayError
from gateway.client.job import Job, ToolRun
from protocol.commands import Command, ToolClaim, ToolRenew, ToolResult
from protocol.frames import Ok
from protocol.state import Call
from protocol.values import ErrorInfo
from tests.support.waiting import eventually

CALL = Call(
    id="c_1",
    run="r_1",
    message="m_1",
    name="read",
    target="client",
    arguments={"n": 2},
    status="requested",
)


class Gateway:
    """Answers commands, `ok` unless `refusals` says otherwise, the first of a type first."""

    def __init__(self, lease_ms: int = 15_000) -> None:
        self.sent: list[Command] = []
        self.refusals: dict[type[Command], list[GatewayError]] = {}
        self.lease_ms = lease_ms

    async def issue(self, frame: Command) -> Ok:
        self.sent.append(frame)
        if refusals := self.refusals.get(type(frame)):
            raise refusals.pop(0)
        return Ok(id=frame.id, lease_ms=self.lease_ms)

    def kinds(self) -> list[type[Command]]:
        return [type(frame) for frame in self.sent]

    def job(self, handler: Callable[..., Any], delay: float = 0) -> Job:
        ids = itertools.count()
        return Job(
            "s_1",
            CALL,
            handler,
            delay=delay,
            began=lambda: None,
            issue=self.issue,
            make_id=lambda prefix: f"{prefix}_{next(ids)}",
        )


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and reports that need no patience."""
    monkeypatch.setattr(jobs, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "PROGRESS_SECONDS", 0.0)


def refused(code: str, *, retryable: bool = False) -> GatewayError:
    return GatewayError(code, "No.", retryable=retryable)


async def test_claim_execute_deliver() -> None:
    gateway = Gateway()
    job = gateway.job(lambda args: args["n"] * 21)
    await job.run()
    assert gateway.kinds() == [ToolClaim, ToolResult]
    result = gateway.sent[1]
    assert isinstance(result, ToolResult)
    assert (result.call, result.output, result.error) == ("c_1", 42, None)
    assert job.delivered


async def test_what_another_has_is_not_executed() -> None:
    gateway = Gateway()
    gateway.refusals[ToolClaim] = [refused("tool.held")]
    await gateway.job(lambda _: pytest.fail("executed")).run()
    assert gateway.kinds() == [ToolClaim]


async def test_the_result_keeps_its_id_however_often_it_is_sent(hurried: None) -> None:
    gateway = Gateway()
    gateway.refusals[ToolClaim] = [refused("rate.limited", retryable=True)]
    gateway.refusals[ToolResult] = [refused("broker.unavailable", retryable=True)] * 2
    executed = itertools.count()
    await gateway.job(lambda _: next(executed)).run()
    results = [frame for frame in gateway.sent if isinstance(frame, ToolResult)]
    assert len(results) == 3
    assert len({frame.id for frame in results}) == 1
    assert next(executed) == 1


@pytest.mark.parametrize("code", ["tool.closed", "tool.held"])
async def test_a_result_that_comes_too_late_is_dropped(code: str) -> None:
    gateway = Gateway()
    gateway.refusals[ToolResult] = [refused(code)]
    job = gateway.job(lambda _: 1)
    await job.run()
    assert not job.delivered
    assert gateway.kinds() == [ToolClaim, ToolResult]


async def test_a_result_that_is_unfit_is_told() -> None:
    gateway = Gateway()
    gateway.refusals[ToolResult] = [refused("frame.too_large")]
    await gateway.job(lambda _: "x").run()
    last = gateway.sent[-1]
    assert isinstance(last, ToolResult)
    assert last.error == ErrorInfo("tool.failed", "No.")


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (lambda _: 1 / 0, ErrorInfo("tool.failed", "division by zero")),
        (lambda _: object(), None),
        (lambda _: pytest.fail, None),
    ],
)
async def test_what_a_handler_does_wrong_is_the_result(
    handler: Callable[..., Any], error: ErrorInfo | None
) -> None:
    gateway = Gateway()
    await gateway.job(handler).run()
    result = gateway.sent[-1]
    assert isinstance(result, ToolResult)
    assert result.error is not None
    assert result.error.code == "tool.failed"
    assert error is None or result.error == error


async def test_a_handler_may_choose_the_code_of_its_error() -> None:
    def read(_: dict[str, Any]) -> None:
        raise GatewayError("app.gone", "The cart is empty.")

    gateway = Gateway()
    await gateway.job(read).run()
    result = gateway.sent[-1]
    assert isinstance(result, ToolResult)
    assert result.error == ErrorInfo("app.gone", "The cart is empty.")


async def test_the_lease_sets_the_pace_of_renewals_and_progress_goes_at_once(
    hurried: None,
) -> None:
    gateway = Gateway(lease_ms=30)
    go_on = asyncio.Event()

    async def read(_: dict[str, Any], run: ToolRun) -> None:
        run.progress(1, 2)
        await go_on.wait()

    gateway.refusals[ToolRenew] = [refused("internal", retryable=True)]
    running = asyncio.create_task(gateway.job(read).run())  # noqa: TID251 - awaited below
    await eventually(lambda: gateway.kinds().count(ToolRenew) >= 3)
    go_on.set()
    await running
    renewals = [frame for frame in gateway.sent if isinstance(frame, ToolRenew)]
    assert renewals[0].progress is not None
    assert all(frame.progress is None for frame in renewals[1:])
    assert gateway.kinds()[-1] is ToolResult


async def test_after_a_refused_renewal_the_lease_may_be_taken_back_and_renewed(
    hurried: None,
) -> None:
    gateway = Gateway(lease_ms=3)
    gateway.refusals[ToolRenew] = [refused("tool.held")]

    async def read(_: dict[str, Any]) -> str:
        await eventually(lambda: gateway.kinds().count(ToolRenew) >= 3)
        return "done"

    await gateway.job(read).run()
    assert gateway.kinds()[-1] is ToolResult


async def test_progress_that_is_no_json_is_the_handlers_error() -> None:
    gateway = Gateway()

    async def read(_: dict[str, Any], run: ToolRun) -> None:
        run.progress(object())  # type: ignore[arg-type]  # what a caller without types may do

    job = gateway.job(read)
    await job.run()
    assert job.delivered
    result = gateway.sent[-1]
    assert isinstance(result, ToolResult)
    assert result.error is not None
    assert result.error.code == "tool.failed"


async def test_cancelled_before_its_turn_it_never_claims_and_later_it_delivers_nothing() -> None:
    gateway = Gateway()
    began = asyncio.Event()
    runs: list[ToolRun] = []

    async def read(_: dict[str, Any], run: ToolRun) -> None:
        runs.append(run)
        began.set()
        await asyncio.Event().wait()

    waiting = asyncio.create_task(gateway.job(read, delay=60).run())  # noqa: TID251 - awaited below
    executing = asyncio.create_task(gateway.job(read).run())  # noqa: TID251 - awaited below
    await began.wait()
    for task in (waiting, executing):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert gateway.kinds() == [ToolClaim]
    assert runs[0].cancelled
