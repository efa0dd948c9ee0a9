"""What a URL names."""

import pytest

from gateway.broker.redis.address import Address, read_url


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://user:secret@host:1234/0", "host:1234"),
        ("rediss://host", "host:6379"),
        ("redis://", "localhost:6379"),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock"),
        ("redis+sentinel://u:secret@a,b:1/main", "a:26379"),
        ("redis+cluster://u:secret@a:7000,b:7001", "a:7000"),
    ],
)
def test_place_has_no_password(url: str, where: str) -> None:
    assert read_url(url).place == where


def test_one_server_is_redis_pys_business() -> None:
    assert read_url("rediss://h:1/2?x=y") == Address("single", "rediss://h:1/2?x=y")


def test_sentinels() -> None:
    assert read_url("redis+sentinel://u:p@a:1,[::1],c/main/3?client_name=x") == Address(
        "sentinel",
        "redis://u:p@a:1/3?client_name=x",
        (("a", 1), ("::1", 26379), ("c", 26379)),
        "main",
    )


@pytest.mark.parametrize("url", ["rediss+cluster://a,b:7001", "rediss+cluster://a,b:7001/0"])
def test_cluster(url: str) -> None:
    address = read_url(url)
    assert (address.kind, address.hosts) == ("cluster", (("a", 6379), ("b", 7001)))
    assert address.url.startswith("rediss://a:6379/")


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+sentinel:///main",
        "redis+sentinel://a,,b/main",
        "redis+sentinel://a/main/x",
        "redis+sentinel://a:port/main",
        "redis+cluster://a/1",
        "redis+cluster://",
        "redis+ring://a",
        "http+cluster://a",
    ],
)
def test_what_names_nothing(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_url(url)
