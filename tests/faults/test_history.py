"""The checker itself: it accepts a true history and catches every kind of broken one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from protocol.codec import splice
from tests.faults.history import judge
from tests.faults.record import Frame, Log, Record

TIME = "2026-01-01T00:00:00.000Z"
SEND: Frame = {"type": "message.send", "id": "k_1", "session": "s", "content": "Hi"}
OK: Frame = {"type": "ok", "id": "k_1", "message": "m_1", "run": "r_1", "seq": 3}


def event(type_: str, /, **fields: Any) -> Frame:
    return {"type": type_, "time": TIME, **fields}


def added(message: str = "m_1", text: str = "Hi") -> Frame:
    parts = [{"kind": "text", "text": text}]
    return event("message.added", message=message, role="user", parts=parts)


def delta(text: str, message: str = "m_2") -> Frame:
    return event("message.delta", message=message, part=0, kind="text", delta=text)


def talk() -> list[Frame]:
    """A session with one answered message: eleven events."""
    return [
        event("session.created", agent="scripted"),
        added(),
        event("run.queued", run="r_1", trigger="m_1"),
        event("run.started", run="r_1"),
        event("message.started", message="m_2", run="r_1"),
        delta("one "),
        delta("two "),
        delta("three "),
        event("message.completed", message="m_2", status="complete"),
        event("run.completed", run="r_1"),
    ]


def log_of(events: list[Frame], session: str = "s", **fields: Any) -> Log:
    bodies = [json.dumps(e, separators=(",", ":")).encode() for e in events]
    return Log(session, "e_1", bodies, **fields)


def lines_of(log: Log, first: int, last: int) -> list[str]:
    return [
        splice(log.bodies[seq - log.first], log.session, seq).decode()
        for seq in range(first, last + 1)
    ]


def subscribed(seq: int, *, recovered: bool = True, session: str = "s", **fields: Any) -> str:
    frame = {"type": "subscribed", "session": session, "epoch": "e_1", "detail": "full"}
    return json.dumps({**frame, "seq": seq, "recovered": recovered, **fields})


def state(seq: int, **fields: Any) -> Frame:
    empty: Frame = {
        "metadata": {},
        "tools": [],
        "messages": [],
        "more": False,
        "run": None,
        "queue": [],
        "calls": {},
        "approvals": {},
        "remembered": [],
        "custom": {},
    }
    about = {"session": "s", "agent": "scripted", "epoch": "e_1", "seq": seq}
    return {**about, **empty, **fields}


def record_of(*connections: list[str], sent: Frame | None = SEND, answers: int = 1) -> Record:
    connections[0].extend([json.dumps(OK)] * (answers if sent else 0))
    return Record("tab", connections=list(connections), sent={sent["id"]: sent} if sent else {})


def broken(record: Record | list[Record], *logs: Log, **options: Any) -> set[str]:
    records = record if isinstance(record, list) else [record]
    return {violation.invariant for violation in judge(records, logs, **options)}


def test_a_true_history_over_two_connections() -> None:
    log = log_of(talk())
    first = [subscribed(0), *lines_of(log, 1, 6)]
    second = [subscribed(6), *lines_of(log, 7, 10)]
    assert broken(record_of(first, second), log) == set()


def test_a_true_history_that_begins_with_a_state() -> None:
    log = log_of(talk())
    begun = subscribed(1, recovered=False, state=state(1))
    assert broken(record_of([begun, *lines_of(log, 2, 10)]), log) == set()


def test_merged_deltas_are_the_same_text() -> None:
    log = log_of(talk())
    merged = {"session": "s", "seq": 8, "from_seq": 6, **delta("one two three ")}
    seen = [subscribed(0), *lines_of(log, 1, 5), json.dumps(merged), *lines_of(log, 9, 10)]
    assert broken(record_of(seen), log) == set()
    seen[6] = json.dumps({**merged, "delta": "one three "})
    assert broken(record_of(seen), log) == {"I3"}
    seen[6] = json.dumps({**merged, "from_seq": 5})
    assert broken(record_of(seen), log) == {"I2", "I3"}


Spoil = Callable[[list[str]], None]


def drop(lines: list[str]) -> None:
    del lines[4]


def repeat(lines: list[str]) -> None:
    lines.insert(4, lines[4])


def swap(lines: list[str]) -> None:
    lines[4], lines[5] = lines[5], lines[4]


def change(lines: list[str]) -> None:
    lines[7] = lines[7].replace("two", "tow")


def reformat(lines: list[str]) -> None:
    lines[7] = json.dumps(json.loads(lines[7]))


def stop_early(lines: list[str]) -> None:
    del lines[-2:]


def invent(lines: list[str]) -> None:
    lines.append(lines[-1].replace('"seq":10', '"seq":11'))


def stray(lines: list[str]) -> None:
    lines.append(lines[-1].replace('"session":"s"', '"session":"s_other"'))


def jump(lines: list[str]) -> None:
    lines[4:8] = [json.dumps({"type": "cursor", "session": "s", "seq": 7})]


@pytest.mark.parametrize(
    ("spoil", "invariants"),
    [
        (drop, {"I1"}),
        (repeat, {"I2"}),
        (swap, {"I1", "I2"}),
        (change, {"I3"}),
        (reformat, {"I3"}),
        (stop_early, {"I1"}),
        (invent, {"I1", "I3"}),
        (stray, {"I4"}),
        (jump, {"I1"}),
    ],
)
def test_a_spoilt_stream_is_caught(spoil: Spoil, invariants: set[str]) -> None:
    log = log_of(talk())
    lines = [subscribed(0), *lines_of(log, 1, 10)]
    spoil(lines)
    assert broken(record_of(lines), log) == invariants


def test_a_resume_that_skips_or_repeats() -> None:
    log = log_of(talk())
    first = [subscribed(0), *lines_of(log, 1, 6)]
    assert broken(record_of([*first], [subscribed(7), *lines_of(log, 8, 10)]), log) == {"I1"}
    assert broken(record_of([*first], [subscribed(5), *lines_of(log, 6, 10)]), log) == {"I2"}
    other = subscribed(6, epoch="e_2")
    assert "I1" in broken(record_of([*first], [other, *lines_of(log, 7, 10)]), log)


def test_a_reset_without_the_state() -> None:
    log = log_of(talk())
    assert broken(record_of([subscribed(10, recovered=False)]), log) == {"I1"}


def test_a_state_that_is_not_the_fold() -> None:
    log = log_of(talk())
    for wrong in (state(1, agent="echo"), state(1, metadata={"title": "?"})):
        begun = subscribed(1, recovered=False, state=wrong)
        assert broken(record_of([begun, *lines_of(log, 2, 10)]), log) == {"I3"}


def test_events_after_an_unsubscribe_or_before_a_subscription() -> None:
    log = log_of(talk())
    record = record_of([subscribed(0), *lines_of(log, 1, 5)], lines_of(log, 6, 10))
    assert broken(record, log) == {"I1", "I4"}  # nor did it get them where it may
    leave = {"type": "session.unsubscribe", "id": "k_2", "session": "s"}
    gone = json.dumps({"type": "ok", "id": "k_2"})
    record = record_of([subscribed(0), *lines_of(log, 1, 10), gone, lines_of(log, 10, 10)[0]])
    record.sent["k_2"] = leave
    assert broken(record, log) == {"I4"}


def test_a_session_of_another_principal() -> None:
    log = log_of(talk(), owner="local:eve")
    record = record_of([subscribed(0), *lines_of(log, 1, 10)], sent=None)
    assert "I4" in broken(record, log)


def test_what_was_seen_of_a_lost_epoch_is_still_dense() -> None:
    log = log_of(talk())
    lost = [subscribed(0, epoch="e_0"), *lines_of(log, 1, 3)]
    anew = [
        subscribed(1, recovered=False, state=state(1)),
        *lines_of(log, 2, 10),
    ]
    assert broken(record_of([*lost, *anew]), log) == set()
    del lost[2]
    assert broken(record_of([*lost, *anew]), log) == {"I1"}
    assert "I1" in broken(record_of([*lost]), log)  # never told that the epoch is another
    # what was seen is no longer stored, though it should be
    other = Log("s", "e_0", log.bodies[:1])
    lost = [subscribed(0, epoch="e_0"), *lines_of(log, 1, 3)]
    assert broken(record_of([*lost, *anew]), log, earlier=[other]) == {"I3"}


def test_two_effects_none_and_one_too_many() -> None:
    twice = talk()
    twice[2:2] = [added("m_9")]
    log = log_of(twice)
    assert broken(record_of([subscribed(0), *lines_of(log, 1, 11)]), log) == {"I5"}
    nothing = log_of([event("session.created", agent="scripted")])
    assert broken(record_of([subscribed(0), *lines_of(nothing, 1, 1)]), nothing) == {"I5"}
    # without an answer at most one
    log = log_of(talk())
    assert broken(record_of([subscribed(0), *lines_of(log, 1, 10)], answers=0), log) == set()
    assert broken(record_of([subscribed(0), *lines_of(nothing, 1, 1)], answers=0), nothing) == set()


def test_a_refused_command_has_no_effect() -> None:
    log = log_of(talk())
    record = record_of([subscribed(0), *lines_of(log, 1, 10)], answers=0)
    refusal = {"type": "error", "id": "k_1", "session": "s", "message": "", "retryable": False}
    record.connections[0].append(json.dumps({**refusal, "code": "session.busy"}))
    assert broken(record, log) == {"I5"}
    record.connections[0][-1] = json.dumps({**refusal, "code": "broker.unavailable"})
    assert broken(record, log) == set()


def test_two_different_answers_to_one_command() -> None:
    log = log_of(talk())
    record = record_of([subscribed(0), *lines_of(log, 1, 10)], answers=2)
    assert broken(record, log) == set()
    record.connections[0].append(json.dumps({**OK, "message": "m_7"}))
    assert broken(record, log) == {"I5"}


def test_two_winners() -> None:
    asked = event("approval.requested", approval="ap_1", run="r_1", title="?", deadline=TIME)
    resolved = event("approval.resolved", approval="ap_1", decision="approve")
    log = log_of([*talk()[:4], asked, resolved])
    answers = ['{"type":"ok","id":"k_2","seq":6}', '{"type":"ok","id":"k_3","seq":6}']
    respond = {"type": "approval.respond", "session": "s", "approval": "ap_1"}
    records: list[Record] = []
    for id_, decision in (("k_2", "approve"), ("k_3", "deny")):
        record = record_of([subscribed(0), *lines_of(log, 1, 6), *answers])
        record.sent[id_] = {**respond, "id": id_, "decision": decision}
        records.append(record)
    assert broken([records[0]], log) == set()
    assert broken(records, log) == {"I5"}


RETRY = event("run.retrying", run="r_1", attempt=2)
START, DONE = talk()[4], talk()[8]
CALL = event("tool_call.started", message="m_2", part=0, call="c_1", name="t", target="client")
CLAIM = event("tool_call.claimed", call="c_1", client="A", lease_until=TIME)
RESULT = event("tool_call.completed", call="c_1", output=1)


@pytest.mark.parametrize(
    "rest",
    [
        [START, DONE, talk()[9], delta("late")],
        [START, DONE, talk()[9], event("run.log", run="r_1", level="info", text="late")],
        [START, DONE, talk()[9], event("run.cancelled", run="r_1", by="dev")],
        [START, DONE, delta("into a closed message")],
        [START, talk()[9]],  # leaves its message open
        [delta("into none")],
        [START, DONE, START],
        [RETRY, RETRY],
        [event("run.started", run="r_1")],
        [START, CALL, DONE, RESULT, RESULT],
        [START, CALL, DONE, CLAIM, {**CLAIM, "client": "B"}],
        [START, CALL, DONE, RESULT, CLAIM],
    ],
)
def test_a_life_after_death_is_caught(rest: list[Frame]) -> None:
    log = log_of([*talk()[:4], *rest])
    record = record_of([subscribed(0), *lines_of(log, 1, log.head)])
    assert broken(record, log) == {"I6"}


def test_a_takeover_and_a_released_call_are_fine() -> None:
    released = event("tool_call.released", call="c_1", reason="lease_expired")
    discarded = event("message.completed", message="m_2", status="discarded")
    again = event("message.started", message="m_3", run="r_1")
    end = event("message.completed", message="m_3", status="complete")
    for rest in (
        [START, delta("lost"), RETRY, discarded, again, delta("x", "m_3"), end, talk()[9]],
        [START, CALL, DONE, CLAIM, released, {**CLAIM, "client": "B"}, RESULT],
    ):
        log = log_of([*talk()[:4], *rest])
        record = record_of([subscribed(0), *lines_of(log, 1, log.head)])
        assert broken(record, log) == set()
