"""Checks that an HTML page is well-formed, and finds its SVG."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

VOID = {"meta", "!doctype"}
SVG = "{http://www.w3.org/2000/svg}"


class Balanced(HTMLParser):
    """Fails on an element that is not closed in order; collects ids of what could be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Balanced:
    """The page, which is balanced and fetches nothing."""
    reader = Balanced()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    assert reader.references == []
    assert "url(" not in html
    assert "@import" not in html
    return reader


def pictures(html: str) -> list[ET.Element]:
    """Every SVG of a page, read as XML."""
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]
