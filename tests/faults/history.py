"""The history checker: invariants I1–I6 over what clients saw and what is stored.

| | invariant | judged in |
| --- | --- | --- |
| I1 | dense: no hole in what a `full` subscription saw, unless it was given the state | sightings |
| I2 | no event twice | sightings |
| I3 | what was seen is what is stored, byte for byte; a state is the fold | sightings |
| I4 | nothing of another principal, nothing that was not subscribed | sightings |
| I5 | a command with `ok` has exactly one effect, one without an answer at most one | effects |
| I6 | nothing of a run after its end, nothing by an attempt that was taken over | lives |

I7 is judged where a test counts what is left (C15, C17), I8 by each test's waits, I9 by the `quiet`
fixture in this process and by the `gateway` fixture in others.
No socket, no clock: values in, violations out.
"""

from collections.abc import Iterable, Sequence

from tests.faults import effects
from tests.faults.lives import Lives
from tests.faults.record import Log, Record, Violation
from tests.faults.sightings import Sightings


def judge(
    records: Iterable[Record],
    logs: Iterable[Log],
    *,
    earlier: Sequence[Log] = (),
    complete: bool = True,
) -> list[Violation]:
    """Every violation; `complete`: clients have settled, so each must have read to the end.

    `earlier` are logs of epochs before, as they were when they ended; what was seen of an epoch
    without a log is judged for holes and repeats alone. Of a session that lost events (an earlier
    log is no beginning of the one that is kept) effects cannot be counted.
    """
    records, kept = list(records), list(logs)
    known = {(log.session, log.epoch): log for log in (*earlier, *kept)}
    owners = {log.session: log.owner for log in (*earlier, *kept)}
    found: list[Violation] = []
    for record in records:
        sightings = Sightings(record, known, owners)
        found += sightings.judge()
        if complete:
            found += sightings.behind()
    newest = {log.session: log for log in kept}
    lossy = {log.session for log in earlier if not _begins(newest.get(log.session), log)}
    whole = [log for log in kept if log.session not in lossy]
    found += effects.judge(records, whole)
    for log in whole:
        if log.first == 1:
            found += Lives(log).judge()
    return found


def _begins(log: Log | None, earlier: Log) -> bool:
    """Whether nothing of an earlier log was lost."""
    return (
        log is not None
        and log.first == earlier.first
        and list(log.bodies[: len(earlier.bodies)]) == list(earlier.bodies)
    )


def assert_holds(
    records: Iterable[Record],
    logs: Iterable[Log],
    *,
    earlier: Sequence[Log] = (),
    complete: bool = True,
) -> None:
    """Raises AssertionError that lists every violation."""
    found = judge(records, logs, earlier=earlier, complete=complete)
    assert not found, "the history does not hold:\n" + "\n".join(map(str, found[:20]))
