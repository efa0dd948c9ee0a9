"""Pages of other origins are kept out, and so are names that point to us for a trick."""

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from gateway.settings import Settings
from gateway.transports.origins import OriginCheck, OriginGuard
from protocol.errors import ProtocolError
from tests.support.inprocess import ManualClock

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
        ("HTTPS://app.example.com", False),
        ("https://APP.example.com", False),
        ("https://app.example.com.", False),
        ("https://app.example.com:443", False),
        ("https://app.example.com/", False),
        ("https://app.example.com#", False),
        ("https://app.example.com, https://app.example.com", False),
        ("https://app.example.com https://evil.example", False),
        ("https://app.example.com\t", False),
        ("https://app。example.com", False),
        ("https://gateway.example.", False),
        ("https://gateway.example:8443", False),
        ("//app.example.com", False),
        ("app.example.com", False),
    ],
)
def test_pages_of_allowed_origins(origin: str | None, accepted: bool) -> None:
    raw = [(b"host", b"gateway.example")]
    raw += [] if origin is None else [(b"origin", origin.encode())]
    assert (OriginCheck(JWT).refused(Headers(raw=raw)) is None) is accepted


@pytest.mark.parametrize("host", [None, "", "[::1", "null"])
def test_a_page_of_nowhere(host: str | None) -> None:
    headers = {"origin": "null", **({} if host is None else {"host": host})}
    assert OriginCheck(JWT).refused(Headers(headers)) is not None


def test_every_one_of_several_origins_must_be_allowed() -> None:
    raw = [(b"host", b"gateway.example"), (b"origin", b"https://app.example.com")]
    assert OriginCheck(JWT).refused(Headers(raw=raw)) is None
    assert (
        OriginCheck(JWT).refused(Headers(raw=[*raw, (b"origin", b"https://evil.example")]))
        is not None
    )


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        ("127.0.0.1:8000", True),
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("[::1]:8000", True),
        ("evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("localhost.", False),
        ("127.0.0.1@evil.example", False),
        ("127.1", False),
        ("2130706433", False),
        ("0.0.0.0:8000", False),
        ("", False),
    ],
)
def test_without_auth_only_names_of_this_machine(host: str, accepted: bool) -> None:
    headers = {"host": host, "origin": f"http://{host}".lower()}
    assert (OriginCheck(Settings()).refused(Headers(headers)) is None) is accepted
    assert (OriginCheck(Settings()).refused(Headers({"host": host})) is None) is accepted


def test_insecure_takes_any_name() -> None:
    check = OriginCheck(Settings(host="0.0.0.0", insecure=True))
    assert check.refused(Headers({"host": "gateway.lan", "origin": "http://gateway.lan"})) is None
    assert check.refused(Headers({"host": "gateway.lan", "origin": "http://evil.lan"})) is not None


async def test_the_guard_keeps_them_from_the_api_alone() -> None:
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
    assert check.refused(there) is not None
    check.allow(["https://new.example"])
    assert check.refused(there) is None
    check.allow([])
    assert check.refused(there) is not None


@pytest.mark.parametrize(
    ("site", "origin", "accepted"),
    [
        ("cross-site", None, False),
        ("same-site", None, False),
        ("same-origin", None, True),
        ("none", None, True),  # typed by a person
        (None, None, True),  # no browser
        ("cross-site", "https://app.example.com", True),
        ("same-site", "http://gateway.example", True),
        ("cross-site", "https://evil.example", False),
        ("same-origin", "https://evil.example", False),
    ],
)
def test_what_a_browser_says_of_a_request_without_an_origin(
    site: str | None, origin: str | None, accepted: bool
) -> None:
    given = {"host": "gateway.example", "sec-fetch-site": site, "origin": origin}
    headers = Headers({name: value for name, value in given.items() if value is not None})
    assert (OriginCheck(JWT).refused(headers) is None) is accepted


@pytest.mark.parametrize(("told", "ours"), [(None, "http https"), ("https", "https")])
def test_our_own_pages_have_the_scheme_that_the_proxy_tells(told: str | None, ours: str) -> None:
    for scheme in ("http", "https"):
        headers = Headers({"host": "gateway.example", "origin": f"{scheme}://gateway.example"})
        accepted = OriginCheck(JWT).refused(headers, told) is None
        assert accepted is (scheme in ours.split())


# --- the guard, with what a page can make a browser send


async def answer(_request: Request) -> Response:
    return PlainTextResponse("here")


def site(check: OriginCheck, host: str, prefix: str = "") -> httpx2.AsyncClient:
    routes = [Route("/v1/sessions", answer, methods=["GET", "POST"])]
    app: ASGIApp = OriginGuard(Starlette(routes=routes), check)
    if prefix:
        app = Starlette(routes=[Mount(prefix, app)])
    transport = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=transport, base_url=f"http://{host}{prefix}")


SIMPLE = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]


@pytest.mark.parametrize("kind", [*SIMPLE, "text/plain; application/json", "application/jsonp"])
@pytest.mark.parametrize("prefix", ["", "/gw"])
async def test_a_form_cannot_post(kind: str, prefix: str) -> None:
    """Whatever the browser says of where it comes from, or if it says nothing."""
    async with site(OriginCheck(Settings()), "127.0.0.1:8000", prefix) as client:
        headers = {"Content-Type": kind} if kind else {}
        refused = await client.post("/v1/sessions", content=b"{}", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (415, "frame.malformed")
        for name, value in (("Origin", "http://evil"), ("Sec-Fetch-Site", "cross-site")):
            refused = await client.post("/v1/sessions", headers={**headers, name: value})
            assert (refused.status_code, refused.json()["code"]) == (403, "auth.forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "Application/JSON ; charset=utf-8"},
        {"Authorization": "Bearer x"},
        {"Authorization": "Bearer x", "Content-Type": "text/plain"},
    ],
)
async def test_what_needs_a_preflight_can(headers: dict[str, str]) -> None:
    async with site(OriginCheck(Settings()), "127.0.0.1:8000") as client:
        assert (await client.post("/v1/sessions", headers=headers)).text == "here"


PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type",
}


async def test_pages_of_allowed_origins_may_read() -> None:
    page = {"Origin": "https://app.example.com"}
    async with site(OriginCheck(JWT), "gateway.example") as client:
        asked = await client.options("/v1/sessions", headers={**page, **PREFLIGHT})
        assert asked.status_code == 204
        methods = asked.headers["access-control-allow-methods"].split(", ")
        assert {"GET", "POST", "PUT", "DELETE"} == set(methods)
        assert "Authorization" in asked.headers["access-control-allow-headers"]
        for got in (asked, await client.get("/v1/sessions", headers=page)):
            assert got.headers["access-control-allow-origin"] == "https://app.example.com"
            assert got.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in got.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://gateway.example", None])
async def test_nobody_else_is_given_leave(origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    async with site(OriginCheck(JWT), "gateway.example") as client:
        for got in (
            await client.options("/v1/sessions", headers={**headers, **PREFLIGHT}),
            await client.get("/v1/sessions", headers=headers),
        ):
            assert not [name for name in got.headers if name.startswith("access-control")]


def told(check: OriginCheck, **headers: str) -> ProtocolError:
    error = check.refused(Headers({"host": "gateway.example", **headers}))
    assert error is not None
    assert error.code == "auth.forbidden"
    return error


def test_N10_a_refused_origin_says_what_to_set() -> None:
    error = told(OriginCheck(JWT), origin="https://new.example")
    assert "--allowed-origins https://new.example" in error.message
    assert error.details == {
        "reason": "origin",
        "origin": "https://new.example",
        "setting": "allowed_origins",
    }


def test_B9_a_refused_host_is_no_refused_origin() -> None:
    for headers in ({}, {"origin": "http://testserver"}):
        error = told(OriginCheck(Settings()), host="testserver", **headers)
        assert '"testserver" in Host' in error.message
        assert error.details == {"reason": "host", "host": "testserver", "setting": "host"}


def test_a_page_of_another_site_without_an_origin_is_told_so() -> None:
    error = told(OriginCheck(JWT), **{"sec-fetch-site": "cross-site"})
    assert "without saying their origin" in error.message


def test_refusals_are_logged_once_a_minute_each(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock(100.0)
    check = OriginCheck(JWT, clock=clock)
    for _ in range(3):
        told(check, origin="https://a.example")
        told(check, origin="https://b.example\x1b[2J" + "x" * 5_000)
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING"]
    assert "\x1b" not in caplog.text
    assert len(caplog.text) < 2_000
    clock.now += 61
    told(check, origin="https://a.example")
    assert len(caplog.records) == 3
    for n in range(3_000):  # names that somebody makes up are not remembered for ever
        told(check, origin=f"https://{n}.example")
    assert len(check._quiet_until) <= 256
