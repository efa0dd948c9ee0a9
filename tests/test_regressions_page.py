"""docs/regressions.md names tests that exist."""

import re

from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "regressions.md").read_text()


def test_every_test_of_the_page_exists() -> None:
    file = ""
    named = re.findall(r"`(tests/[\w/]+\.py)?::(\w+)`", PAGE)
    assert len(named) > 20
    for given, function in named:
        file = given or file
        assert re.search(rf"def {function}\b", (ROOT / file).read_text()), f"{file}::{function}"
