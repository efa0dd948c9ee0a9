"""I5: a command with `ok` has exactly one effect, one without an answer at most one.

An effect is found by what the command asked for, never by the ids the gateway gave it: a message
stored twice has two ids. So a test's contents, inputs, results are its own; where several commands
ask for the same, as many effects are allowed as commands.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.faults.record import Frame, Log, Record, Violation

# Decided anew each time (docs/protocol.md): a repeat may be answered otherwise.
ANEW = frozenset(
    {
        "auth.refresh",
        "session.list",
        "session.messages",
        "session.subscribe",
        "session.unsubscribe",
        "tool.claim",
        "tool.renew",
    }
)
# Answers that leave open whether the command was stored.
UNCERTAIN = frozenset({"broker.unavailable", "internal", "server.draining"})

Sign = tuple[str, ...]
"""Session, kind and content of an effect."""


def judge(records: Iterable[Record], logs: Sequence[Log]) -> list[Violation]:
    """Every violation in the answers that all clients got, and the effects that are stored.

    `logs` are complete: an effect in a lost epoch, or behind a trim, is not missed but unknown.
    """
    found: list[Violation] = []
    records = list(records)
    least: Counter[Sign] = Counter()  # commands with an ok
    most: Counter[Sign] = Counter()  # commands that may have an effect
    complete = {log.session for log in logs if log.first == 1}
    for where, command, got in _asked(records):
        found += _contradictions(where, command, got)
        sign = sign_of_command(command)
        if sign is None or sign[0] not in complete:
            continue
        accepted = any(answer["type"] == "ok" for answer in got)
        least[sign] += accepted
        most[sign] += accepted or not _refused(got)
    effects = Counter(sign for log in logs if log.first == 1 for sign in signs_in(log))
    for sign in least.keys() | most.keys():
        if not least[sign] <= effects[sign] <= most[sign]:
            text = f"{least[sign]} ok, at most {most[sign]} sent, {effects[sign]} stored: {sign}"
            found.append(Violation("I5", f"in {sign[0]}", text[:400]))
    return found + list(_second_results(records, logs))


def _asked(records: Iterable[Record]) -> Iterator[tuple[str, Frame, list[Frame]]]:
    """Who asked, what, and all its answers: one command, however many records repeat it."""
    asked: dict[tuple[str, str, str], tuple[str, Frame, list[Frame]]] = {}
    for record in records:
        answers = record.answers()
        for id_, command in record.sent.items():
            who = f"{record.principal}/{record.client}"
            key = who, id_, _text(command)
            asked.setdefault(key, (who, command, []))[2].extend(answers.get(id_, []))
    yield from asked.values()


def _contradictions(who: str, command: Frame, got: Sequence[Frame]) -> Iterator[Violation]:
    """Two different answers to one command."""
    if command["type"] in ANEW:
        return
    oks = [answer for answer in got if answer["type"] == "ok"]
    where = f"of {who}, {command['type']} {command.get('id')}"
    if any(ok != oks[0] for ok in oks):
        yield Violation("I5", where, f"different answers: {oks!r:.300}")
    refused = [a for a in got if a["type"] == "error" and a["code"] not in UNCERTAIN]
    refused = [a for a in refused if a["code"] not in ("rate.limited", "command.conflict")]
    if oks and refused and got.index(refused[-1]) > got.index(oks[0]):
        yield Violation("I5", where, f"refused after its ok: {refused[-1]!r:.300}")


def _refused(got: Sequence[Frame]) -> bool:
    """Whether the answers say that nothing was stored."""
    return bool(got) and all(a["type"] == "error" and a["code"] not in UNCERTAIN for a in got)


def sign_of_command(command: Frame) -> Sign | None:
    """What the command's effect looks like; None if it is not looked for."""
    session = command.get("session", "")
    match command["type"]:
        case "message.send":
            return session, "message", _text(parts(command["content"]))
        case "run.start":
            return session, "run", _text(command.get("input"))
        case "tool.result":
            result = command.get("output"), (command.get("error") or {}).get("code")
            return session, "result", command["call"], _text(result)
        case "approval.respond":
            return session, "approval", command["approval"], command["decision"]
        case _:
            return None


def signs_in(log: Log) -> Iterator[Sign]:
    """The effects in a log. A message that waited counts once, when it is queued."""
    waited: set[str] = set()
    for _, event in log.events():
        match event["type"]:
            case "message.added" if event["role"] == "user" and event["message"] not in waited:
                yield log.session, "message", _text(event["parts"])
            case "run.queued" if "content" in event:
                waited.add(event["trigger"])
                yield log.session, "message", _text(event["content"])
            case "run.queued" if "trigger" not in event:
                yield log.session, "run", _text(event.get("input"))
            case "tool_call.completed":
                result = event.get("output"), (event.get("error") or {}).get("code")
                yield log.session, "result", event["call"], _text(result)
            case "approval.resolved":
                yield log.session, "approval", event["approval"], event["decision"]
            case _:
                pass


def _second_results(records: Iterable[Record], logs: Sequence[Log]) -> Iterator[Violation]:
    """Two commands with `ok` for what can be answered once: a call, an approval, a stop."""
    winners: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for _, command, got in _asked(records):
        about = {
            "tool.result": command.get("call"),
            "approval.respond": command.get("approval"),
            "run.interrupt": command.get("run"),
        }.get(command["type"])
        if about and any(answer["type"] == "ok" for answer in got):
            winners[command["session"], command["type"], about].add(command["id"])
    for (session, kind, about), ids in winners.items():
        if len(ids) > 1:
            yield Violation("I5", f"in {session}", f"{kind} for {about}: ok to {sorted(ids)}")
    cancelled = {
        (log.session, event["run"])
        for log in logs
        for _, event in log.events()
        if event["type"] == "run.cancelled"
    }
    complete = {log.session for log in logs if log.first == 1}
    for session, kind, about in winners:
        stopped = (session, about) in cancelled
        if kind == "run.interrupt" and session in complete and not stopped:
            yield Violation("I5", f"in {session}", f"the stop of {about} has ok and no effect")


def parts(content: Any) -> Any:
    """A message's content as its parts."""
    return [{"kind": "text", "text": content}] if isinstance(content, str) else content


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
