"""Pages of other origins are kept out, and so are names that point to us for a trick."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gateway.settings import Settings
from gateway.transports.origins import OriginCheck, OriginGuard

JWT = Settings(
    auth="jwt", auth_secret="s" * 32, host="0.0.0.0", allowed_origins=("https://app.example.com",)
)


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (None, True),
        ("https://gateway.example", True),
        ("http://gateway.example", True),
        ("https://app.example.com", True),
        ("https://app.example.com.evil.com", False),
        ("https://app.example.com:8443", False),
        ("http://app.example.com", False),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
        ("https://gateway.example@evil.example", False),
        ("ftp://gateway.example", False),
    ],
)
def test_pages_of_allowed_origins(origin: str | None, accepted: bool) -> None:
    headers = {"host": "gateway.example", **({} if origin is None else {"origin": origin})}
    assert OriginCheck(JWT).accepts(Headers(headers)) is accepted


@pytest.mark.parametrize("host", [None, "", "[::1", "null"])
def test_a_page_of_nowhere(host: str | None) -> None:
    headers = {"origin": "null", **({} if host is None else {"host": host})}
    assert not OriginCheck(JWT).accepts(Headers(headers))


def test_every_one_of_several_origins_must_be_allowed() -> None:
    raw = [(b"host", b"gateway.example"), (b"origin", b"https://app.example.com")]
    assert OriginCheck(JWT).accepts(Headers(raw=raw))
    assert not OriginCheck(JWT).accepts(Headers(raw=[*raw, (b"origin", b"https://evil.example")]))


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        ("127.0.0.1:8000", True),
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("[::1]:8000", True),
        ("evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
    ],
)
def test_without_auth_only_names_of_this_machine(host: str, accepted: bool) -> None:
    headers = {"host": host, "origin": f"http://{host}".lower()}
    assert OriginCheck(Settings()).accepts(Headers(headers)) is accepted
    assert OriginCheck(Settings()).accepts(Headers({"host": host})) is accepted


def test_insecure_takes_any_name() -> None:
    check = OriginCheck(Settings(host="0.0.0.0", insecure=True))
    assert check.accepts(Headers({"host": "gateway.lan", "origin": "http://gateway.lan"}))
    assert not check.accepts(Headers({"host": "gateway.lan", "origin": "http://evil.lan"}))


async def test_the_guard_keeps_them_from_the_api_alone() -> None:
    async def answer(_request: Request) -> Response:
        return PlainTextResponse("here")

    app = Starlette(routes=[Route("/v1/sessions", answer), Route("/healthz", answer)])
    transport = httpx2.ASGITransport(app=OriginGuard(app, OriginCheck(JWT)))
    headers = {"Origin": "https://evil.example"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://gateway.example", headers=headers
    ) as client:
        refused = await client.get("/v1/sessions")
        assert (refused.status_code, refused.json()["code"]) == (403, "auth.forbidden")
        assert (await client.get("/healthz")).text == "here"
        own = await client.get("/v1/sessions", headers={"Origin": "http://gateway.example"})
        assert own.text == "here"


def test_other_origins_from_now_on() -> None:
    check = OriginCheck(JWT)
    there = Headers({"host": "gateway.example", "origin": "https://new.example"})
    assert not check.accepts(there)
    check.allow(["https://new.example"])
    assert check.accepts(there)
    check.allow([])
    assert not check.accepts(there)
