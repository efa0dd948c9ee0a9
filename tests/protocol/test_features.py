"""The registry of additions: what a `welcome` carries is what docs/protocol.md explains."""

from pathlib import Path

from protocol.features import FEATURES, NAMES

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


def test_every_feature_has_its_row_in_the_protocol() -> None:
    table = PAGE.read_text().partition("### Features")[2].partition("\n#")[0]
    rows = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert rows == list(FEATURES) == NAMES
