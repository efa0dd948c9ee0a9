"""Only keys that the issuer shows, that fit, and that are fetched when it is time."""

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.auth import jwks
from gateway.auth.jwks import AGAIN_S, MIN_RSA_BITS, FetchError, KeySet, public_keys
from gateway.settings import Algorithm
from protocol.errors import ProtocolError
from tests.support.inprocess import ManualClock
from tests.support.issuer import (
    AnyKey,
    Issuer,
    claims,
    ec_key,
    key_set,
    okp_key,
    rsa_key,
    signed,
)
from tests.support.waiting import eventually

ONE, TWO = rsa_key("one"), rsa_key("two")
CURVE, EDWARDS = ec_key("curve"), okp_key("edwards")
FITTING: list[tuple[Algorithm, AnyKey]] = [
    ("RS256", ONE),
    ("PS256", ONE),
    ("ES256", CURVE),
    ("EdDSA", EDWARDS),
]


@asynccontextmanager
async def running(issuer: Issuer, algorithm: Algorithm = "RS256") -> AsyncGenerator[Any]:
    """A key set that is fetched once, and the clock that says when it is fetched again."""
    clock = ManualClock()
    keys = KeySet(issuer.url, algorithm, clock=clock, jitter=lambda: 0.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(keys.run())
        await eventually(lambda: keys._known_at > 0 or issuer.fetches > 1, what="a fetch")
        yield keys, clock
        task.cancel()


async def refusal(keys: KeySet, token: str) -> str:
    with pytest.raises(ProtocolError) as refused:
        await keys.payload(token)
    return refused.value.code


@pytest.mark.parametrize(("algorithm", "key"), FITTING, ids=lambda v: v if type(v) is str else "")
async def test_a_token_of_each_algorithm_and_no_other(algorithm: Algorithm, key: AnyKey) -> None:
    async with Issuer(key_set(ONE, CURVE, EDWARDS)) as issuer, running(issuer, algorithm) as (k, _):
        assert json.loads(await k.payload(signed(key, algorithm)))["sub"] == "ann"
        for other, wrong in FITTING:
            if other != algorithm:
                assert await refusal(k, signed(wrong, other)) == "auth.invalid"
                assert await refusal(k, signed(wrong, other, kid=key.kid)) == "auth.invalid"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hand_signed(header: dict[str, Any], secret: bytes, digest: str = "sha256") -> str:
    parts = [json.dumps(part).encode() for part in (header, claims())]
    coded = [encoded(part) for part in parts]
    signature = hmac.new(secret, ".".join(coded).encode(), digest).digest()
    return ".".join([*coded, encoded(signature)])


async def test_a_public_key_is_no_secret() -> None:
    """What everybody can read signs nothing, in whatever form it is taken for a secret."""
    forms = [ONE.as_pem(private=False), ONE.as_der(private=False), key_set(ONE)]
    forms += [json.dumps(ONE.as_dict(private=False)).encode(), b""]
    async with Issuer(key_set(ONE)) as issuer, running(issuer) as (keys, _):
        for form in forms:
            for name in ("HS256", "none", "RS256", "ES256", "", "rs256"):
                token = hand_signed({"alg": name, "kid": "one"}, form)
                assert await refusal(keys, token) == "auth.invalid"


async def test_a_key_that_the_token_brings_along_is_not_looked_at() -> None:
    evil = rsa_key("one")
    header: dict[str, Any] = {"jwk": evil.as_dict(private=False), "jku": "http://127.0.0.1:1/"}
    async with Issuer(key_set(ONE)) as issuer, running(issuer) as (keys, _):
        assert await refusal(keys, signed(evil, "RS256", **header)) == "auth.invalid"
        assert issuer.fetches == 1


def test_keys_that_do_not_fit_are_left_out() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}
    short = encoded(b"\xff" * (MIN_RSA_BITS // 8 - 1))
    weak = {"kty": "RSA", "kid": "weak", "e": "AQAB", "n": short}
    odd: list[Any] = [weak, secret, {}, None, 7, {"kty": "RSA"}, {"kty": "RSA", "n": 1, "e": []}]
    entries = [*odd, *(k.as_dict(private=False) for k in (ONE, CURVE, EDWARDS))]
    assert list(public_keys(json.dumps({"keys": entries}).encode(), "RS256")) == ["one"]
    assert list(public_keys(key_set(CURVE, ec_key("wide", "P-384")), "ES256")) == ["curve"]
    for unfit in ({"use": "enc"}, {"alg": "RS512"}, {"key_ops": ["sign"]}, {"kid": 7}):
        assert public_keys(key_set(ONE, **unfit), "RS256") == {}
    for fit in ({"use": "sig"}, {"alg": "RS256"}, {"key_ops": ["verify"]}):
        assert list(public_keys(key_set(ONE, **fit), "RS256")) == ["one"]


def test_of_a_private_key_only_the_public_part_is_taken() -> None:
    document = json.dumps({"keys": [ONE.as_dict(private=True)]}).encode()
    assert not public_keys(document, "RS256")["one"].is_private


@pytest.mark.parametrize(
    "document",
    [b"", b"\xff", b"[]", b"{}", b'{"keys":{}}', b"[" * 9_999, b'{"keys":[' + b"1," * 100 + b"1]}"],
    ids=range(7),
)
def test_what_is_no_key_set(document: bytes) -> None:
    with pytest.raises(FetchError):
        public_keys(document, "RS256")


async def test_a_token_without_a_name_means_the_only_key() -> None:
    token = signed(ONE, "RS256", kid=None)
    async with Issuer(key_set(ONE)) as issuer, running(issuer) as (keys, _):
        await keys.payload(token)
    async with Issuer(key_set(ONE, TWO)) as issuer, running(issuer) as (keys, _):
        assert await refusal(keys, token) == "auth.invalid"


async def test_keys_rotate() -> None:
    """The new one at once, the old one while it is shown, and no longer."""
    old, new = signed(ONE, "RS256"), signed(TWO, "RS256")
    async with Issuer(key_set(ONE)) as issuer, running(issuer) as (keys, clock):
        issuer.body = key_set(ONE, TWO)
        clock.now += AGAIN_S
        await keys.payload(new)
        await keys.payload(old)
        assert issuer.fetches == 2
        issuer.body = key_set(TWO)
        clock.now += AGAIN_S
        assert await refusal(keys, signed(rsa_key("three"), "RS256")) == "auth.invalid"
        assert await refusal(keys, old) == "auth.invalid"
        await keys.payload(new)


async def test_a_flood_of_unknown_keys_fetches_once_a_minute() -> None:
    stranger = signed(TWO, "RS256")
    async with Issuer(key_set(ONE)) as issuer, running(issuer) as (keys, clock):
        for fetches in (2, 3):
            clock.now += AGAIN_S
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(refusal(keys, stranger)) for _ in range(200)]
            assert {task.result() for task in asked} == {"auth.invalid"}
            assert (issuer.fetches, issuer.most_open) == (fetches, 1)


async def test_who_waits_for_a_silent_issuer_is_told_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Issuer(key_set(ONE)) as issuer, running(issuer) as (keys, clock):
        monkeypatch.setattr(jwks, "FETCH_S", 0.2)
        issuer.silent = True
        clock.now += AGAIN_S
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(refusal(keys, signed(TWO, "RS256")))
            await keys.payload(signed(ONE, "RS256"))  # known ones wait for nothing
        assert issuer.fetches == 2


async def test_an_issuer_that_is_not_there_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Tokens cannot be checked meanwhile, which is not their fault; it is told once."""
    monkeypatch.setattr(jwks, "FIRST_WAITS_S", (0.01, 0.02))
    token = signed(ONE, "RS256")
    async with Issuer(b"no key set") as issuer, running(issuer) as (keys, _):
        assert await refusal(keys, token) == "auth.unavailable"
        assert keys.unready
        await eventually(lambda: issuer.fetches > 5)
        assert caplog.text.count("gave none") == 1
        issuer.body = key_set(ONE)
        await eventually(lambda: keys.unready is None)
        await keys.payload(token)


@pytest.mark.parametrize("wrong", [{"status": 500}, {"body": b"x" * 300_000}, {"body": b"{}"}])
async def test_an_issuer_that_fails_later_costs_no_key(wrong: dict[str, Any]) -> None:
    async with Issuer(key_set(ONE)) as issuer, running(issuer) as (keys, clock):
        for name, value in wrong.items():
            setattr(issuer, name, value)
        clock.now += AGAIN_S
        assert await refusal(keys, signed(TWO, "RS256")) == "auth.invalid"
        assert issuer.fetches == 2
        await keys.payload(signed(ONE, "RS256"))
        clock.now += jwks.STALE_S + AGAIN_S
        assert await refusal(keys, signed(TWO, "RS256")) == "auth.unavailable"
        assert keys.unready


async def test_the_keys_are_looked_up_again_when_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "REFRESH_S", 0.05)
    async with Issuer(key_set(ONE)) as issuer, running(issuer) as (keys, _):
        issuer.body = key_set(TWO)
        await eventually(lambda: "two" in keys._keys)
        assert await refusal(keys, signed(ONE, "RS256")) == "auth.invalid"
