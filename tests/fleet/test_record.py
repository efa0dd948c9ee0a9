"""What processes say of themselves is read by other versions."""

import pytest

from gateway.broker.base import Announced
from gateway.fleet.record import AgentOffer, ProcessRecord, encode_record, records

RECORD = ProcessRecord(
    id="p_1",
    role="both",
    version="1.2.3",
    started="2026-01-01T00:00:00.000Z",
    agents=[AgentOffer("cook", "Cooks."), AgentOffer("baker")],
)


def test_d1_what_a_record_is() -> None:
    assert encode_record(RECORD) == (
        b'{"id":"p_1","role":"both","version":"1.2.3","started":"2026-01-01T00:00:00.000Z",'
        b'"agents":[{"name":"cook","description":"Cooks."},{"name":"baker"}]}'
    )
    assert list(records([Announced("p_1", encode_record(RECORD), 0.0)])) == [RECORD]


def test_a_newer_version_says_more() -> None:
    newer = encode_record(RECORD).replace(b'{"id"', b'{"state":"draining","id"')
    assert list(records([Announced("p_1", newer, 0.0)])) == [RECORD]


@pytest.mark.parametrize("other", [b"", b"\xff", b"[]", b'{"id":"p_2"}', b'{"id":1}'])
def test_what_cannot_be_read_is_skipped(other: bytes) -> None:
    both = [Announced("p_2", other, 0.0), Announced("p_1", encode_record(RECORD), 0.0)]
    assert list(records(both)) == [RECORD]


@pytest.mark.parametrize(
    ("said", "kept"),
    [("Cooks.", "Cooks."), (" \n", None), (None, None), (7, None), ("x" * 2_000, "x" * 1_000)],
)
def test_any_description(said: object, kept: str | None) -> None:
    assert AgentOffer.of("cook", said) == AgentOffer("cook", kept)
