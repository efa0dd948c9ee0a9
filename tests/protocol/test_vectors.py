"""The golden vectors: what every client is held to is what this code does, and all of it."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from protocol import codec
from protocol.detail import LEVELS
from protocol.folds import FOLDS
from tests.support.values import DOWN, EVENTS, UP, tag

ROOT = Path(__file__).parents[2]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden", ROOT / "tools" / "golden.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = script()


def vectors(name: str) -> list[dict[str, Any]]:
    return json.loads((ROOT / "protocol" / "vectors" / f"{name}.json").read_text())


@pytest.mark.parametrize("name", golden.FILES)
def test_the_files_are_fresh(name: str) -> None:
    """If not: tools/golden.py writes them anew."""
    assert golden.read(name) == golden.anew(name)


def test_the_script_checks_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vectors").mkdir()
    for name in golden.FILES:
        (tmp_path / name).write_text(golden.read(name))
    monkeypatch.setattr(golden, "PROTOCOL", tmp_path)
    stale = [{**v, "expect": None} for v in vectors("folds")]
    (tmp_path / "vectors" / "folds.json").write_text(json.dumps(stale))
    (tmp_path / "schema.json").unlink()
    assert golden.main(["--check"]) == 1
    assert "stale: protocol/vectors/folds.json" in capsys.readouterr().out
    assert golden.main([]) == 0
    assert golden.main(["--check"]) == 0
    assert json.loads((tmp_path / "vectors" / "folds.json").read_text()) == vectors("folds")


@pytest.mark.parametrize("name", ["frames", "folds", "details"])
def test_names_are_unique(name: str) -> None:
    names = [v["name"] for v in vectors(name)]
    assert len(set(names)) == len(names)


def test_every_frame_type_has_a_valid_vector_and_every_one_up_a_bad_one() -> None:
    seen = {(v["direction"], v["frame"]["type"]) for v in vectors("frames") if v["valid"]}
    for direction, structs in (("up", UP), ("down", DOWN), ("event", EVENTS)):
        assert {(direction, tag(struct)) for struct in structs} <= seen
    bad = {
        v["frame"].get("type")
        for v in vectors("frames")
        if v["direction"] == "up" and not v["valid"] and isinstance(v["frame"], dict)
    }
    harmless = {"ping", "pong"}
    assert {tag(struct) for struct in UP} - bad == harmless


def test_valid_frames_come_back() -> None:
    for vector in vectors("frames"):
        if not vector["valid"] or vector["name"].startswith("an event"):
            continue
        frame, line = vector["frame"], json.dumps(vector["frame"])
        if vector["direction"] == "event":
            again = json.loads(codec.encode(codec.decode_event(line)))
            place = {k: frame[k] for k in ("session", "seq", "from_seq") if k in frame}
            assert {**place, **again} == without_null(frame), vector["name"]
        elif vector["direction"] == "down":
            assert json.loads(codec.encode(codec.decode_down(line))) == frame, vector["name"]


def without_null(frame: dict[str, Any]) -> dict[str, Any]:
    """Nulls of optional fields need not be sent."""
    required = {"output"} if frame["type"] == "run.output" else {"value", "arguments"}
    return {k: v for k, v in frame.items() if v is not None or k in required}


def test_every_event_that_is_folded_has_a_vector() -> None:
    folded = {event["type"] for v in vectors("folds") for event in v["events"]}
    assert {tag(event) for event in FOLDS} <= folded


def test_every_event_is_filtered_at_every_detail() -> None:
    seen = {(v["detail"], v["event"]["type"]) for v in vectors("details") if "event" in v}
    assert seen == {(detail, tag(event)) for detail in LEVELS for event in EVENTS}


def test_no_secret_leaves_below_full_and_no_providers_data_at_all() -> None:
    sources = json.dumps([v.get("event", v.get("state")) for v in vectors("details")])
    assert "secret-provider" in sources
    for vector in vectors("details"):
        left = json.dumps(vector["leaves"])
        assert "secret-provider" not in left
        assert vector["detail"] == "full" or "secret" not in left, vector["name"]
