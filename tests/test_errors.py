"""The gateway's exceptions keep data and say something."""

import inspect

import pytest

from gateway import errors


@pytest.mark.parametrize(
    "kind",
    [c for _, c in inspect.getmembers(errors, inspect.isclass)],
    ids=lambda kind: kind.__name__,
)
def test_one_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.GatewayError)
    assert kind.__doc__


def test_they_keep_what_they_are_about() -> None:
    duplicate = errors.Duplicate("digest", b"{}", 7)
    assert (duplicate.digest, duplicate.answer, duplicate.seq) == ("digest", b"{}", 7)
    exists = errors.Exists("local:dev", "echo", deleted=True)
    assert (exists.owner, exists.agent, exists.deleted) == ("local:dev", "echo", True)
    assert errors.EpochChanged("e_2").epoch == "e_2"
