"""The judgement over a chaos run: I1–I6 by the history checker, then I7 and I9, and the words.

`history` reads what is stored while clients have settled; `residue` looks at what is left when
they have gone and their sessions are deleted.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from gateway.auth.token import mint_token
from gateway.broker.base import Broker
from tests.broker.redis.opening import asking
from tests.faults.chaos_stage import SECRET, Stage, http
from tests.faults.chaos_visitor import Asked, Visitor
from tests.faults.history import judge
from tests.faults.record import Log, Violation, stored
from tests.support.processes import GatewayProcess
from tests.support.waiting import eventually

MOST_BYTES = 400 * 2**20
MOST_DESCRIPTORS = 90
"""50 connections to Redis are pooled and live on, 15 a process has anyway."""

GAUGES = re.compile(
    rb"^agent_gateway_(connections|subscriptions|feeds|runs_active) (\S+)$", re.MULTILINE
)


async def settled(broker: Broker, visitors: Sequence[Visitor], within: float) -> None:
    """Returns when every visitor has read to the head of all it follows.

    Raises:
        AssertionError: one has not, in time; names up to ten.
    """
    behind: list[str] = []

    async def all_read() -> bool:
        wanted = sorted({s for visitor in visitors for s in visitor.following()})
        heads = dict(zip(wanted, await broker.heads(wanted), strict=True))
        behind[:] = [
            f"{visitor.name} is at {visitor.cursor(session)} of {heads[session]}"
            for visitor in visitors
            for session in visitor.following()
            if (head := heads[session]) is None or visitor.cursor(session) != (head.epoch, head.seq)
        ]
        return not behind

    try:
        await eventually(all_read, within=within, what="everybody has read everything")
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(behind[:10])) from None


async def history(broker: Broker, visitors: Sequence[Visitor]) -> list[Violation]:
    """Every violation of I1–I6, and every run that did not say what it was asked to."""
    kept = [await stored(broker, s) for s in sorted({v.session for v in visitors})]
    logs = {log.session: log for log in kept}
    # Nothing stored was lost: whatever an earlier epoch showed is in the log that is kept.
    earlier = {
        (frame["session"], frame["epoch"])
        for visitor in visitors
        for frame in visitor.record.frames()
        if frame["type"] == "subscribed"
    } - {(log.session, log.epoch) for log in kept}
    found = judge(
        [visitor.record for visitor in visitors],
        kept,
        earlier=[replace(logs[session], epoch=epoch) for session, epoch in sorted(earlier)],
    )
    for visitor in visitors:
        found += words(logs[visitor.session], visitor.asked)
        visitor.assert_folded(logs[visitor.session])
    return found


def words(log: Log, asked: Iterable[Asked]) -> list[Violation]:
    """Each run that completed told everything, in order, once; one that was stopped a beginning.

    A run may fail, when every attempt lost its worker, but not for another reason.
    """
    texts: dict[str, dict[str, str]] = {}  # run -> message -> text
    runs: dict[str, str] = {}  # message -> run
    ends: dict[str, tuple[str, str]] = {}
    for _, event in log.events():
        kind, message = event["type"], event.get("message", "")
        if kind == "message.started":
            runs[message] = event["run"]
            texts.setdefault(event["run"], {})[message] = ""
        elif kind == "message.delta" and event["kind"] == "text":
            texts[runs[message]][message] += event["delta"]
        elif kind == "message.completed" and event["status"] == "discarded":
            texts[runs[message]].pop(message, None)
        elif kind in ("run.completed", "run.cancelled", "run.failed"):
            ends[event["run"]] = kind, event.get("error", {}).get("code", "")
    found: list[Violation] = []
    for each in asked:
        told = "".join(texts.get(each.run, {}).values())
        end, code = ends.get(each.run, ("no end", ""))
        right = {
            "run.completed": told == each.text,
            "run.cancelled": each.text.startswith(told),
            "run.failed": code == "worker.lost",
        }.get(end, False)
        if not right:
            text = f"{each.run} {end} {code}: asked {each.text!r:.200}, told {told!r:.200}"
            found.append(Violation("I5", f"in {log.session}", text))
    return found


async def residue(stage: Stage, owners: dict[str, str]) -> list[Violation]:
    """I7, after the clients have gone; `owners`: session -> a token that may delete it."""
    for session, token in owners.items():
        answer = await http(stage.replicas[0].port, "DELETE", f"/v1/sessions/{session}", token)
        assert b" 20" in answer.partition(b"\r\n")[0], answer[:300]
    found: list[Violation] = []
    left: list[str] = []

    async def nothing_left() -> bool:
        left[:] = await held(stage)
        return not left

    try:
        await eventually(nothing_left, within=20, what="nothing is left")
    except AssertionError:
        found.append(Violation("I7", "after all have gone", ", ".join(left)))
    for process in stage.processes:
        if (resident := process.resident_bytes()) > MOST_BYTES:
            found.append(Violation("I7", process.name, f"{resident >> 20} MiB are resident"))
        open_ = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        if open_ > MOST_DESCRIPTORS:
            found.append(Violation("I7", process.name, f"{open_} descriptors are open"))
    if eternal := await _eternal_keys(stage):
        found.append(Violation("I7", "in Redis", f"keys that stay: {dict(eternal)}"))
    return found


async def held(stage: Stage) -> list[str]:
    """What replicas hold for clients: gauges that are not 0, channels that are subscribed."""
    gauges = [line for replica in stage.replicas for line in await _gauges(replica)]
    return gauges + await _channels(stage)


async def _gauges(replica: GatewayProcess) -> list[str]:
    token = mint_token(SECRET, subject="operator", scope="admin")
    metrics = await http(replica.port, "GET", "/metrics", token)
    found = GAUGES.findall(metrics)
    assert found, f"{replica.name} shows no gauges: {metrics[:300]!r}"
    return [f"{replica.name} {n.decode()} {v.decode()}" for n, v in found if float(v)]


async def _channels(stage: Stage) -> list[str]:
    async with asking(stage.valkey) as admin:
        channels = await admin.execute_command("PUBSUB", "SHARDCHANNELS", "agw:*:s:*")
        return [channel.decode() for channel in channels]


async def _eternal_keys(stage: Stage) -> Counter[str]:
    """Kinds of keys that no session has any more and that never expire."""
    found: Counter[str] = Counter()
    async with asking(stage.valkey) as admin:
        async for key in admin.scan_iter(count=1000):
            if await admin.ttl(key) == -1:
                found[re.sub(rb"\{\d+\}|[0-9a-f]{8,}", b"*", key).decode()] += 1
    return found


def complaints(processes: Iterable[GatewayProcess]) -> list[Violation]:
    """I9: tracebacks, lost tasks and lines of level error or worse."""
    found: list[Violation] = []
    for process in processes:
        try:
            process.assert_clean()
        except AssertionError as error:
            found.append(Violation("I9", process.name, f"{error}"[:3000]))
        errors = Counter(
            f"{line.get('logger')}: {line['event']}"
            for line in _lines(process.output())
            if line.get("level") in ("error", "critical")
        )
        found += [Violation("I9", process.name, f"{n} x {text}") for text, n in errors.items()]
    return found


def _lines(output: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]
