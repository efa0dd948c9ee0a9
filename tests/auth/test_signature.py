"""Which signatures count; the whole of a token is in `test_token`, foreign keys in `test_jwks`."""

import pytest

from gateway.auth.signature import MAX_TOKEN_CHARS, SharedSecret, check_form
from gateway.auth.token import mint_token
from protocol.errors import ProtocolError
from tests.support.issuer import claims, okp_key, signed

OLD, NEW = "o" * 32, "n" * 32


@pytest.mark.parametrize(
    "token", ["", "a", "a.b", "a..c", "a.b.c.d", "a.b.c\n", "ä.b.c", "a.b." + "c" * MAX_TOKEN_CHARS]
)
def test_what_is_no_token_is_not_parsed(token: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        check_form(token)
    assert refused.value.code == "auth.invalid"
    check_form("a.b." + "c" * (MAX_TOKEN_CHARS - 4))


async def test_either_of_two_secrets() -> None:
    both = SharedSecret(NEW, OLD)
    for secret in (OLD, NEW):
        assert b'"sub":"ann"' in await both.payload(mint_token(secret, subject="ann"))
    with pytest.raises(ProtocolError):
        await SharedSecret(NEW).payload(mint_token(OLD, subject="ann"))


async def test_a_header_with_more_than_we_know_is_a_header() -> None:
    key = okp_key("k")
    token = signed(key, "EdDSA", claims(), nonce="x")
    with pytest.raises(ProtocolError):  # and no secret is tried on another algorithm
        await SharedSecret(NEW).payload(token)
    assert SharedSecret(NEW).unready is None
