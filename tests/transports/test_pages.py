"""Pages load what this gateway serves and nothing else, typed so that a browser takes it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.transports.pages import Assets, demo_routes

SAME = ("content-security-policy", "x-content-type-options", "x-frame-options", "cache-control")

IMPORT = re.compile(r"""^(?:import|export)\s[^;]*?from ['"]([^'"]+)['"]""", re.MULTILINE)


@pytest.fixture
def site() -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=Starlette(routes=demo_routes()))
    return httpx2.AsyncClient(transport=transport, base_url="http://gateway")


class Page(HTMLParser):
    """What a page loads, and what a strict policy would refuse in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.refused: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        for name in ("src", "href"):
            if (url := found.get(name)) and not url.startswith("#") and tag != "a":
                self.loads.append(url)
        self.refused += [f"{tag} {name}" for name in found if name == "style" or name[:2] == "on"]
        if tag == "style" or (tag == "script" and "src" not in found):
            self.refused.append(tag)


async def test_the_page_and_all_it_loads(site: httpx2.AsyncClient) -> None:
    page = await site.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "'unsafe" not in page.headers["content-security-policy"]
    parsed = Page(page.text)
    assert parsed.refused == []
    waiting, seen = [*parsed.loads], set[str]()
    assert waiting
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        assert path.startswith("/"), path
        answer = await site.get(path)
        assert answer.status_code == 200, path
        assert [answer.headers[name] for name in SAME] == [page.headers[name] for name in SAME]
        if path.endswith(".js"):
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
            base = httpx2.URL(f"http://gateway{path}")
            waiting += [base.join(name).path for name in IMPORT.findall(answer.text)]
    assert "/client/index.js" in seen


async def test_an_unchanged_file_is_not_sent_again(site: httpx2.AsyncClient) -> None:
    first = await site.get("/pages/demo.js")
    again = await site.get("/pages/demo.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/pages/",
        "/pages/no.js",
        "/pages/..%2Fsettings.py",
        "/pages/%2e%2e/settings.py",
        "/client/..%2F..%2FREADME.md",
        "/client/%00.js",
        "/settings.py",
    ],
)
async def test_nothing_else_is_served(site: httpx2.AsyncClient, path: str) -> None:
    assert (await site.get(path)).status_code == 404


@pytest.mark.parametrize(("name", "status"), [("a.py", 404), ("a.js", 200), ("a", 404)])
async def test_only_known_kinds(tmp_path: Path, name: str, status: int) -> None:
    (tmp_path / name).write_text("1")
    transport = httpx2.ASGITransport(app=Assets(directory=tmp_path))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert (await client.get(f"/{name}")).status_code == status
