import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import codec
from protocol.schema import schema
from tests.support.values import DOWN, EVENTS, UP, builtins, of, tag

SCHEMA = schema()


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{name}"}]})


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate({"type": "ping"})


def test_every_frame_has_its_entry() -> None:
    tags = {
        value
        for entry in SCHEMA["$defs"].values()
        for value in entry.get("properties", {}).get("type", {}).get("enum", ())
    }
    assert tags == {tag(struct) for struct in (*UP, *DOWN, *EVENTS)}


def test_events_have_their_place() -> None:
    for event in EVENTS:
        entry = SCHEMA["$defs"][event.__name__]
        assert {"session", "seq", "type", "time"} <= set(entry["required"])
        assert "from_seq" in entry["properties"]


def test_it_holds_nothing_private_and_nothing_that_only_python_reads() -> None:
    text = json.dumps(SCHEMA)
    assert "provider" not in text
    assert r"\Z" not in json.dumps(SCHEMA).replace("\\\\", "\\")


def test_each_call_makes_a_new_one() -> None:
    assert schema() == SCHEMA
    assert schema()["$defs"] is not SCHEMA["$defs"]


@pytest.mark.parametrize("struct", [*UP, *DOWN], ids=lambda s: s.__name__)
@settings(max_examples=10)
@given(data=st.data())
def test_frames_are_valid(struct: type, data: st.DataObject) -> None:
    validator("Up" if struct in UP else "Down").validate(builtins(data.draw(of(struct))))


@pytest.mark.parametrize("struct", EVENTS, ids=tag)
@settings(max_examples=10)
@given(data=st.data())
def test_events_are_valid(struct: type, data: st.DataObject) -> None:
    frame = codec.splice_merged(codec.encode(data.draw(of(struct))), "s_1", 7, 6)
    validator("Event").validate(json.loads(frame))
