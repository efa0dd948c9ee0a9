"""The chaos run: everything that can break, at random, while many clients work; then judgement.

    python -m tests.faults.chaos --seed 7 --seconds 60 --clients 200

With `--gap-s 6` faults seldom overlap: then the recovery times are those of one fault each.

Two replicas, two workers, one Valkey with an append-only file, fault proxies before them. Its seed
gives the faults and their times and what each client does; how they meet differs from run to run.
It ends with 0 and a table of recovery times if I1–I9 hold, with 1 and the violations if
not. Five minutes bound it, whatever happens.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.auth.token import mint_token
from tests.broker.redis.opening import opened
from tests.faults import chaos_verdict
from tests.faults.chaos_recovery import Promise, Recovery, Struck, overdue, recoveries, table
from tests.faults.chaos_schedule import GAP_S, Fault, schedule
from tests.faults.chaos_stage import SECRET, Stage, stage
from tests.faults.chaos_visitor import Visitor
from tests.faults.record import Violation

BOUND_S = 300.0
SETTLE_S = 60.0
ARRIVALS_PER_S = 50
PRINCIPALS = 5
BESIDE_EVERY = 4
"""Each so many-th visitor is also a second tab on another's session."""


@dataclass(frozen=True)
class Plan:
    """What is asked for. Leases are short, so that takeovers fit into a minute."""

    seed: int
    seconds: float = 60
    clients: int = 200
    gap_s: float = GAP_S
    lease_ms: int = 3_000
    lease_renew_ms: int = 500
    lease_stop_ms: int = 2_000
    drain_ms: int = 3_000

    @property
    def promise(self) -> Promise:
        """What I8 is judged by."""
        return Promise(lease_s=self.lease_ms / 1000, drain_s=self.drain_ms / 1000)

    @property
    def options(self) -> list[str]:
        """For replicas and workers alike."""
        return [
            f"--lease-ms={self.lease_ms}",
            f"--lease-renew-ms={self.lease_renew_ms}",
            f"--lease-stop-ms={self.lease_stop_ms}",
            "--park-after-ms=300",
            "--cancel-ms=2000",
            f"--drain-ms={self.drain_ms}",
            "--keep-events=1000000",  # effects are counted in whole logs
            "--keep-bytes=1000000000",
            "--log-format=json",
            "--log-level=warning",
        ]

    @property
    def serving(self) -> list[str]:
        """For replicas."""
        return ["--auth=jwt", f"--auth-secret={SECRET}", "--detail=full", "--heartbeat-ms=2000"]


@dataclass
class Report:
    """What a run found."""

    plan: Plan
    violations: list[Violation]
    recoveries: list[Recovery]
    events: int = 0
    runs: int = 0
    struck: list[Struck] = field(default_factory=list[Struck])

    def __str__(self) -> str:
        plan = self.plan
        head = (
            f"seed {plan.seed}: {len(self.struck)} faults in {plan.seconds:.0f} s, "
            f"{plan.clients} clients saw {self.events} events of {self.runs} runs"
        )
        verdict = "\n".join(map(str, self.violations[:20])) or "I1–I9 hold"
        return f"{head}\n{table(self.recoveries)}\n{verdict}"


class Chaos:
    """One run over one stage."""

    def __init__(self, plan: Plan, stage_: Stage, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.visitors: list[Visitor] = []
        self.tokens: dict[str, str] = {}  # session -> a token of its owner
        self.struck: list[Struck] = []
        self._stage = stage_
        self._say = say
        self._last = "arriving"
        self._began = time.monotonic()

    async def run(self) -> Report:
        """All of it; violations are in the report, a client that waits in vain is an error."""
        async with opened(self._stage.valkey.url) as broker:
            async with self._progress(), self._visiting():
                await self._happen()
                self._last = "ending"
                await chaos_verdict.settled(broker, self.visitors, SETTLE_S)
                held = await chaos_verdict.held(self._stage)
                assert len(held) > self.plan.clients, f"gauges and channels tell little: {held}"
                self._last = "judging"  # for so long that replicas may miss their clients
                found = await chaos_verdict.history(broker, self.visitors)
            found += await chaos_verdict.residue(self._stage, self.tokens)
        for process in self._stage.processes:
            await process.terminate(within=40)
        found += chaos_verdict.complaints(self._stage.processes)
        sightings = {v.name: v.sightings for v in self.visitors}
        recovered = list(recoveries(self.struck, sightings, self.plan.promise))
        found += overdue(recovered, self.plan.promise)
        return Report(
            self.plan,
            found,
            recovered,
            events=sum(len(v.events) for v in self.visitors),
            runs=sum(len(v.asked) for v in self.visitors),
            struck=self.struck,
        )

    @asynccontextmanager
    async def _visiting(self) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for number in range(self.plan.clients):
                self.visitors.append(await stack.enter_async_context(self._visitor(number)))
                await asyncio.sleep(1 / ARRIVALS_PER_S)
            for number, visitor in enumerate(self.visitors):
                other = self.visitors[number - PRINCIPALS]
                known = number % BESIDE_EVERY == 0 and number >= PRINCIPALS
                await visitor.begin([other.session] if known else [])
                self.tokens[visitor.session] = self._token(number)
            yield

    def _visitor(self, number: int) -> Visitor:
        return Visitor(
            number,
            self.plan.seed,
            [front.url for front in self._stage.fronts],
            token=self._token(number),
            principal=f"chaos:user-{number % PRINCIPALS}",
        )

    def _token(self, number: int) -> str:
        subject = f"user-{number % PRINCIPALS}"
        return mint_token(SECRET, subject=subject, tenant="chaos", detail="full")

    async def _happen(self) -> None:
        """Visitors visit, faults strike; returns when both have ended."""
        ended = asyncio.Event()
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as visits:
            for visitor in self.visitors:
                visits.create_task(visitor.visit(ended))
            async with asyncio.TaskGroup() as strikes:
                for fault in schedule(self.plan.seed, self.plan.seconds, self.plan.gap_s):
                    await asyncio.sleep(self._began + fault.at_s - time.monotonic())
                    strikes.create_task(self._strike(fault))
            ended.set()

    async def _strike(self, fault: Fault) -> None:
        async with self._stage.free(fault):
            began, affected = time.monotonic(), self._affected(fault)
            self._last = str(fault)
            await self._stage.strike(fault)
            self.struck.append(Struck(fault, began, time.monotonic(), affected))

    def _affected(self, fault: Fault) -> frozenset[str]:
        if fault.party == "replica":
            there = (v for v in self.visitors if v.place == fault.target and v.connected)
            return frozenset(visitor.name for visitor in there)
        if fault.party == "worker":
            return frozenset(v.live_run for v in self.visitors if v.live_run)
        return frozenset(v.name for v in self.visitors if v.live_run)

    @asynccontextmanager
    async def _progress(self) -> AsyncGenerator[None]:
        """A line each second."""

        async def tell() -> None:
            while True:
                await asyncio.sleep(1)
                at = time.monotonic() - self._began
                events = sum(len(v.events) for v in self.visitors)
                connected = sum(v.connected for v in self.visitors)
                self._say(
                    f"{at:5.0f} of {self.plan.seconds:.0f} s, {connected} of "
                    f"{len(self.visitors)} connected, {events} events, "
                    f"{len(self.struck)} faults, {self._last}"
                )

        # Owned here: cancelled and awaited below.
        telling = asyncio.get_running_loop().create_task(tell())
        try:
            yield
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling


async def chaos(plan: Plan, folder: Path, say: Callable[[str], None]) -> Report:
    """One chaos run; logs of its processes are in `folder`.

    Raises:
        AssertionError: a client waited in vain, or not everybody got to the end.
        TimeoutError: it was not over within `BOUND_S`.
    """
    async with asyncio.timeout(BOUND_S), stage(folder, plan.options, plan.serving) as made:
        return await Chaos(plan, made, say).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    for name, default in Plan.__dataclass_fields__.items():
        if name == "seed":
            parser.add_argument("--seed", type=int, default=1, help="of faults and clients [1]")
        else:
            flag, value = f"--{name.replace('_', '-')}", default.default
            parser.add_argument(flag, type=type(value), default=value, help=f"[{value}]")
    plan = Plan(**vars(parser.parse_args(arguments)))
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{plan.seed}-"))
    sys.stdout.write(f"logs are in {folder}\n")

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        report = asyncio.run(chaos(plan, folder, say))
    except (AssertionError, TimeoutError, ExceptionGroup) as error:
        say(f"seed {plan.seed}: {_first(error)}")
        return 1
    say(str(report))
    return 1 if report.violations else 0


def _first(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.exit(main())
