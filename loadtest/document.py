"""A self-contained HTML file: escaped elements, tables, and the frame with its style sheet.

What it holds is the caller's affair. No scripts, no external resources.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

STYLE = Path(__file__).with_name("page.css")


class Markup(str):
    """Text that is HTML (and XML) already."""

    __slots__ = ()


Content = str | Markup | Iterable["Content"]


def markup(content: Content) -> Markup:
    """Content as HTML: text is escaped, markup is not, sequences are joined."""
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(escape(content))
    return Markup("".join(markup(each) for each in content))


def element(name: str, *children: Content, **attributes: str | float | None) -> Markup:
    """An element; `class_` is `class`, `stroke_width` is `stroke-width`, None is left out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{told}>{markup(children)}</{name}>")


def table(
    head: Sequence[Content], rows: Iterable[Sequence[Content]], *, caption: str | None = None
) -> Markup:
    """A table whose first column names the rows and whose other columns hold figures."""
    above = element("caption", caption) if caption else ""
    columns = element("tr", [element("th", name, scope="col") for name in head])
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", cell) for cell in row[1:]])
        for row in rows
    ]
    inner = element("table", above, element("thead", columns), element("tbody", body))
    # A wide table scrolls by itself; the keyboard reaches it.
    return element(
        "div", inner, class_="table", tabindex="0", role="region", aria_label=caption or "table"
    )


def document(title: str, *body: Content) -> str:
    """The whole file."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"{element('title', title)}\n<style>\n{STYLE.read_text()}</style>\n</head>\n"
        f"<body>\n{element('main', body)}\n</body>\n</html>\n"
    )


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
