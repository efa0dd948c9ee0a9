"""Elements, tables and the frame of a page."""

from loadtest.document import Markup, document, element, markup, table
from tests.loadtest.reading import parsed


def test_text_is_escaped_and_markup_is_not() -> None:
    assert markup(["<a> & b", Markup("<i>c</i>")]) == "&lt;a&gt; &amp; b<i>c</i>"
    assert markup(markup("<")) == "&lt;"


def test_attributes_are_escaped_and_named_as_in_html() -> None:
    made = element("p", "x", class_="a b", text_anchor='"', x=1.5, none=None)
    assert made == '<p class="a b" text-anchor="&quot;" x="1.5">x</p>'


def test_the_first_column_heads_its_row() -> None:
    made = table(["name", "value"], [["<a>", "1"]], caption="All & any")
    assert '<th scope="row">&lt;a&gt;</th><td>1</td>' in made
    assert '<th scope="col">name</th>' in made
    assert "<caption>All &amp; any</caption>" in made
    assert 'aria-label="All &amp; any"' in made


def test_a_document_is_whole_and_suits_dark_rooms() -> None:
    html = document("A <title>", element("h1", "Head"))
    read = parsed(html)
    assert html.startswith("<!doctype html>")
    assert "A <title>" in "".join(read.text)
    assert "prefers-color-scheme: dark" in html
    assert "script" not in read.tags
