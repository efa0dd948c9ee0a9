"""The history checker: invariants I1–I6 over what clients saw and what is stored.

| | invariant | judged in |
| --- | --- | --- |
| I1 | dense: no hole in what a `full` subscription saw, unless it was given the state | sightings |
| I2 | no event twice | sightings |
| I3 | what was seen is what is stored, byte for byte; a state is the fold | sightings |
| I4 | nothing of another principal, nothing that was not subscribed | sightings |
| I5 | a command with `ok` has exactly one effect, one without an answer at most one | effects |
| I6 | nothing of a run after its end, nothing by an attempt that was taken over | lives |

I7 and I9 (what processes leave behind and log) are judged in `residue`, I8 by each test's waits.
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
    lost: Sequence[Log] = (),
    complete: bool = True,
) -> list[Violation]:
    """Every violation; `complete`: clients have settled, so each must have read to the end.

    `lost` are logs of earlier epochs, read before they went; what was seen of an epoch without
    a log is judged for holes and repeats alone.
    """
    records, kept = list(records), list(logs)
    known = {(log.session, log.epoch): log for log in (*lost, *kept)}
    owners = {log.session: log.owner for log in (*lost, *kept)}
    found: list[Violation] = []
    for record in records:
        sightings = Sightings(record, known, owners)
        found += sightings.judge()
        if complete:
            found += sightings.behind()
    # A log whose earlier epoch is lost began before its first event.
    again = {log.session for log in lost}
    whole = [log for log in kept if log.session not in again]
    found += effects.judge(records, whole)
    for log in whole:
        if log.first == 1:
            found += Lives(log).judge()
    return found


def assert_holds(
    records: Iterable[Record],
    logs: Iterable[Log],
    *,
    lost: Sequence[Log] = (),
    complete: bool = True,
) -> None:
    """Raises AssertionError that lists every violation."""
    found = judge(records, logs, lost=lost, complete=complete)
    assert not found, "the history does not hold:\n" + "\n".join(map(str, found[:20]))
