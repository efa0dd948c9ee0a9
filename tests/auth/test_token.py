"""Only tokens that were signed with the secret, for now and for us, let anyone in."""

import base64
import hmac
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth import Grant, NoAuth, open_auth
from gateway.auth.signature import SharedSecret
from gateway.auth.token import DEFAULT_TENANT, JwtAuth, Terms, mint_token
from gateway.errors import ConfigurationError
from gateway.settings import Settings
from protocol.errors import ProtocolError
from protocol.values import Principal

NOW = 1_800_000_000
SECRET = "s" * 32
AUD = {"aud": "agent-gateway"}
CLAIMS = {"sub": "ann", "tenant": "acme", "iat": NOW, "exp": NOW + 60, **AUD}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(claims: Any, header: Any = None, secret: str = SECRET, digest: Any = "sha256") -> str:
    """A token by hand, so that what no library would write can be written."""
    parts = [
        encoded(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header or {"alg": "HS256"}, claims)
    ]
    signature = hmac.new(secret.encode(), ".".join(parts).encode(), digest).digest()
    return ".".join([*parts, encoded(signature)])


def auth(now: float = NOW, **options: Any) -> JwtAuth:
    return JwtAuth(SharedSecret(SECRET), Terms(**options), clock=lambda: now)


async def refusal(authenticator: JwtAuth, token: str | None) -> str:
    with pytest.raises(ProtocolError) as caught:
        await authenticator.authenticate(token)
    assert not token or len(token) < 20 or token not in str(caught.value)
    return caught.value.code


async def test_without_auth_everyone_is_the_developer() -> None:
    grant = Grant(Principal("local", "dev"), "full")
    assert await NoAuth().authenticate(None) == grant
    assert await open_auth(Settings()).authenticate("anything") == grant


async def test_a_signed_token_is_who_it_says() -> None:
    grant = await auth().authenticate(signed({**CLAIMS, "detail": "answer"}))
    assert grant == Grant(Principal("acme", "ann"), "answer", NOW + 60, issued_at=NOW)


async def test_what_a_token_may_use() -> None:
    claims = {"jti": "t1", "agents": ["echo"], "sessions": ["s_1"], "scope": "admin other"}
    grant = await auth().authenticate(signed({**CLAIMS, **claims}))
    assert grant.token_id == "t1"
    assert grant.agents == {"echo"}
    assert grant.sessions == {"s_1"}
    assert grant.scopes == {"admin", "other"}


async def test_what_a_token_leaves_open_is_a_setting() -> None:
    claims = {"sub": "ann", "iat": NOW, "exp": NOW + 60, **AUD}
    grant = await auth(detail="full").authenticate(signed(claims))
    assert grant.principal == Principal(DEFAULT_TENANT, "ann")
    assert grant.detail == "full"


@pytest.mark.parametrize("token", [None, ""])
async def test_no_token(token: str | None) -> None:
    assert await refusal(auth(), token) == "auth.required"


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b.c",
        "\ud800.b.c",
        "ä.ö.ü",
        "x" * 2_000_000,
        signed(CLAIMS, secret="t" * 32),
        signed(CLAIMS) + "x",
        signed(CLAIMS)[:-2],
        signed(CLAIMS, {"alg": "none"}),
        signed(CLAIMS, {"alg": "none"}).rpartition(".")[0] + ".",
        signed(CLAIMS, {"alg": "HS512"}, digest="sha512"),
        signed(CLAIMS, {"alg": "RS256"}),
        signed(CLAIMS, {"alg": ["HS256"]}),
        signed(CLAIMS, {"alg": "HS256", "crit": ["exp"], "exp": 1}),
        signed(CLAIMS, ["HS256"]),
        signed(CLAIMS, b"[" * 5_000),
        signed(b"[" * 5_000),
        signed(b"\xff"),
        signed([]),
        signed({**CLAIMS, "sub": ""}),
        signed({**CLAIMS, "sub": 7}),
        signed({**CLAIMS, "sub": "a\nb"}),
        signed({**CLAIMS, "sub": "\ud800"}),
        signed({**CLAIMS, "tenant": "x" * 257}),
        signed({**CLAIMS, "detail": "everything"}),
        signed({**CLAIMS, "exp": str(NOW + 60)}),
        signed({**CLAIMS, "exp": True}),
        signed({**CLAIMS, "exp": math.nan}),
        signed({**CLAIMS, "exp": math.inf}),
        signed({**CLAIMS, "exp": None}),
        signed({**CLAIMS, "exp": 10**400}),
        signed({k: v for k, v in CLAIMS.items() if k != "exp"}),
        signed({k: v for k, v in CLAIMS.items() if k != "iat"}),
        signed({k: v for k, v in CLAIMS.items() if k != "sub"}),
        signed({k: v for k, v in CLAIMS.items() if k != "aud"}),
        signed({**CLAIMS, "nbf": NOW + 31}),
        signed({**CLAIMS, "iat": NOW + 31}),
    ],
    ids=range(37),
)
async def test_a_bad_token(token: str) -> None:
    assert await refusal(auth(), token) == "auth.invalid"


@given(st.text(alphabet="abc.-_=ey", max_size=60) | st.text(max_size=30))
async def test_no_text_is_more_than_invalid(token: str) -> None:
    assert await refusal(auth(), token or None) in ("auth.invalid", "auth.required")


@pytest.mark.parametrize(
    ("skew", "code"), [(-600, "auth.invalid"), (-30, ""), (30 + 59, ""), (60 + 30, "auth.expired")]
)
async def test_clocks_may_differ_a_little(skew: float, code: str) -> None:
    token = signed(CLAIMS)
    if code:
        assert await refusal(auth(NOW + skew), token) == code
    else:
        assert (await auth(NOW + skew).authenticate(token)).expires_at == NOW + 60


@pytest.mark.parametrize("audience", ["us", ["them", "us"]])
async def test_a_token_for_us(audience: Any) -> None:
    await auth(audience="us").authenticate(signed({**CLAIMS, "aud": audience}))


@pytest.mark.parametrize("audience", ["them", [], ["US"], None, {"us": 1}])
async def test_a_token_for_others(audience: Any) -> None:
    token = signed({**CLAIMS, "aud": audience})
    assert await refusal(auth(audience="us"), token) == "auth.invalid"


@pytest.mark.parametrize(("issuer", "code"), [("https://id", ""), ("https://evil", "auth.invalid")])
async def test_a_token_of_the_issuer(issuer: str, code: str) -> None:
    ours = auth(issuer="https://id")
    if code:
        assert await refusal(ours, signed({**CLAIMS, "iss": issuer})) == code
    else:
        await ours.authenticate(signed({**CLAIMS, "iss": issuer}))
    assert await refusal(ours, signed(CLAIMS)) == "auth.invalid"


async def test_a_token_ends_at_the_greatest_age() -> None:
    """Then what was revoked of its kind may be forgotten."""
    token = signed({**CLAIMS, "exp": NOW + 10_000})
    grant = await auth(max_age_s=100).authenticate(token)
    assert grant.expires_at == NOW + 100
    assert await refusal(auth(NOW + 130, max_age_s=100), token) == "auth.expired"


async def test_the_secret_before_is_good_for_a_while() -> None:
    old, new = signed(CLAIMS), signed(CLAIMS, secret="n" * 32)
    both = JwtAuth(SharedSecret("n" * 32, SECRET), clock=lambda: NOW)
    assert (await both.authenticate(old)) == (await both.authenticate(new))
    assert await refusal(both, signed(CLAIMS, secret="x" * 32)) == "auth.invalid"
    both.apply(Settings(auth="jwt", auth_secret="n" * 32))
    await both.authenticate(new)
    assert await refusal(both, old) == "auth.invalid"


async def test_claims_by_other_names() -> None:
    ours = auth(tenant_claim="https://id/org", detail_claim="sight")
    said = {**CLAIMS, "https://id/org": "other", "sight": "full", "detail": "answer"}
    grant = await ours.authenticate(signed(said))
    assert (grant.principal.tenant, grant.detail) == ("other", "full")
    # what stands under the usual names is somebody else's business there
    grant = await ours.authenticate(signed(CLAIMS))
    assert (grant.principal.tenant, grant.detail) == (DEFAULT_TENANT, "steps")


async def test_what_is_minted_is_accepted() -> None:
    settings = Settings(auth="jwt", auth_secret=SECRET, auth_audience="us", detail="answer")
    token = mint_token(SECRET, subject="ann|1", tenant="acme", detail="full", aud="us", ttl_s=60)
    grant = await open_auth(settings).authenticate(token)
    assert grant.principal == Principal("acme", "ann|1")
    assert grant.detail == "full"


@pytest.mark.parametrize("subject", ["", "two words", "x" * 257, "\x00"])
def test_only_what_would_be_accepted_is_minted(subject: str) -> None:
    with pytest.raises(ConfigurationError, match="printable"):
        mint_token(SECRET, subject=subject)
