"""Values that are taken once, and notices; what both brokers promise is in the contract suite."""

from gateway.broker.shelf import Shelf


def test_what_nobody_takes_is_forgotten() -> None:
    shelf = Shelf()
    for n in range(100):
        shelf.keep(f"k{n}", b"v", until=10.0 + n, now=0.0)
    shelf.keep("k0", b"longer", until=1_000.0, now=0.0)
    shelf.take("k99", now=0.0)
    shelf.keep("new", b"v", until=2_000.0, now=500.0)
    assert set(shelf._kept) == {"k0", "new"}
    assert len(shelf._ends) == 2


def test_notices_that_have_ended_are_forgotten() -> None:
    shelf = Shelf()
    shelf.post("b", b"one", until=10.0)
    shelf.post("b", b"two", until=20.0)
    assert shelf.posted("b", now=15.0) == [b"two"]
    assert shelf._boards == {"b": {b"two": 20.0}}
