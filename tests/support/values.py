"""Hypothesis strategies made from the types themselves: `of(ToolResult)` draws any valid one.

Also any JSON, soups of any events, and every frame type for `parametrize`.
"""

import functools
from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as mi

from protocol.commands import AnyUp
from protocol.events import AnyEvent, Event
from protocol.frames import AnyDown

UP: tuple[type, ...] = AnyUp.__args__
DOWN: tuple[type, ...] = AnyDown.__args__
EVENTS: tuple[type, ...] = AnyEvent.__args__

Pools = Mapping[str, st.SearchStrategy[Any]]
"""Field name -> what to draw for the struct's own field, in place of its type's values."""

ids = st.text("abcXYZ019_-", min_size=1, max_size=64)
times = st.integers(0, 999).map(lambda n: f"2026-03-01T09:00:00.{n:03d}Z")
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def of(struct: type, pools: Pools | None = None) -> st.SearchStrategy[Any]:
    """Any valid value of a struct."""
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return _struct(info, pools or {})


def soups(max_size: int = 30) -> st.SearchStrategy[list[tuple[int, Event]]]:
    """Any events in any order, of few messages, runs, calls and approvals."""
    few = {
        "message": st.sampled_from(["m_1", "m_2", "m_3"]),
        "after": st.sampled_from(["m_0", "m_1", "m_2"]),
        "run": st.sampled_from(["r_1", "r_2"]),
        "call": st.sampled_from(["c_1", "c_2", "c_3"]),
        "approval": st.sampled_from(["ap_1", "ap_2"]),
        "part": st.integers(0, 3),
        "on": st.lists(st.sampled_from(["c_1", "c_2", "ap_1"]), max_size=3),
    }
    events = st.lists(st.one_of([of(kind, few) for kind in EVENTS]), max_size=max_size)
    return events.map(lambda drawn: list(enumerate(drawn, 1)))


def tag(struct: Any) -> str:
    """The wire's name of a frame."""
    return struct.__struct_config__.tag


def _struct(info: mi.StructType, pools: Pools) -> st.SearchStrategy[Any]:
    fields = {f.name: _field(f, pools) for f in info.fields}
    return st.builds(functools.partial(_build, info.cls), st.fixed_dictionaries(fields))


def _of(info: mi.Type) -> st.SearchStrategy[Any]:
    match info:
        case mi.StructType():
            return _struct(info, {})
        case mi.UnionType(types=types):
            return st.one_of([_of(t) for t in types])
        case mi.Metadata(type=inner):
            return _of(inner)
        case mi.ListType(item_type=item):
            return st.lists(_of(item), max_size=3)
        case mi.DictType(value_type=value):
            return st.dictionaries(st.text("abc", max_size=3), _of(value), max_size=3)
        case mi.LiteralType(values=values):
            return st.sampled_from(values)
        case _:
            return _scalar(info)


def _scalar(info: mi.Type) -> st.SearchStrategy[Any]:
    match info:
        case mi.StrType(pattern=str()):
            return ids
        case mi.StrType(max_length=limit):
            return st.text(max_size=min(limit or 12, 12))
        case mi.IntType(ge=low, le=high):
            return st.integers(-(2**63) if low is None else low, 2**63 if high is None else high)
        case mi.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case mi.BoolType():
            return st.booleans()
        case mi.NoneType():
            return st.none()
        case mi.AnyType():
            return json_values
        case _:
            raise AssertionError(info)


def _field(field: mi.Field, pools: Pools) -> st.SearchStrategy[Any]:
    if field.name == "time":
        return times
    return pools[field.name] if field.name in pools else _of(field.type)


def _build(cls: type, fields: dict[str, Any]) -> Any:
    return cls(**fields)


def replaced(value: Any, path: list[Any], new: Any) -> Any:
    """The JSON value with `new` at `path`."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def paths(value: Any) -> list[list[Any]]:
    """The paths of everything within a JSON value, itself first."""
    if isinstance(value, dict):
        inner = list(value.items())
    else:
        inner = list(enumerate(value)) if isinstance(value, list) else []
    return [[], *([key, *rest] for key, item in inner for rest in paths(item))]


def builtins(value: Any) -> Any:
    """As the wire has it: decoded JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))
