"""From whatever an agent hands over to what may stand in an event: plain JSON, clean text.

Pure. Agents pass on what models and libraries gave them, so nothing is taken for granted: half a
surrogate pair is replaced (two halves that meet are joined), what JSON cannot hold is refused.
"""

import math
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct

from gateway.runtime.failures import NotJsonError
from protocol.codec import MAX_DEPTH, MAX_INT, MIN_INT

MAX_DELTA_BYTES = 16 * 1024


def clean(text: str) -> str:
    """`text` as a plain string without lone surrogates. Raises `NotJsonError`: it is no text."""
    if type(text) is not str:
        text = native(text)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def native(text: object) -> str:
    """The plain string in a string of a library's own kind. Raises `NotJsonError`."""
    if not isinstance(text, str):
        raise NotJsonError(f"A text must be a str, not {type(text).__name__}.")
    return str.__str__(text)


def pieces(text: str) -> list[str]:
    """`text` in deltas of at most `MAX_DELTA_BYTES`."""
    size = MAX_DELTA_BYTES if text.isascii() else MAX_DELTA_BYTES // 4
    if len(text) <= size:
        return [text]
    return [text[at : at + size] for at in range(0, len(text), size)]


def plain(value: Any, what: str = "value") -> Any:
    """`value` as plain JSON, sharing nothing mutable with it.

    Raises:
        NotJsonError: it holds a NaN, an infinity, a huge integer or something without JSON form,
            or is nested too deep.
    """
    try:
        return _walk(msgspec.to_builtins(value, str_keys=True, enc_hook=_inner), what, 0)
    except NotJsonError:
        raise
    except Exception as error:  # noqa: BLE001 - objects of others may raise anything
        raise NotJsonError(f"{what} has no JSON form: {_said(error)}") from None


def _inner(value: object) -> Any:
    """Of a library's own kind of text or number: what is in it."""
    match value:
        case str():
            return str.__str__(value)
        case int():
            return int.__int__(value)
        case float():
            return float.__float__(value)
        case _:
            raise TypeError(f"{type(value).__name__} is not JSON")


def _said(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - as above
        return type(error).__name__


S = TypeVar("S", bound=Struct)


def checked(value: S, what: str) -> S:
    """`value` of clean text and plain JSON, within the limits that its readers check.

    What an agent hands over ends in a log that everybody must be able to read again.

    Raises:
        NotJsonError: it is not; the text says where.
    """
    try:
        return msgspec.convert(plain(value, what), type(value))
    except msgspec.ValidationError as error:
        raise NotJsonError(f"{what} cannot be stored: {error}") from None


def _walk(value: Any, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise NotJsonError(f"{path} is nested deeper than {MAX_DEPTH}.")
    match value:
        case str():
            return clean(value)
        case None | bool():
            return value
        case int():
            if not MIN_INT <= value <= MAX_INT:
                raise NotJsonError(f"{path} is an integer of more than 64 bits.")
            return value
        case float():
            if not math.isfinite(value):
                raise NotJsonError(f"{path} is {value}, which JSON has not; use null.")
            return value
        case dict():
            pairs = cast("dict[Any, Any]", value).items()
            return {_key(k): _walk(v, f"{path}.{k!s:.32}", depth + 1) for k, v in pairs}
        case list() | tuple():
            items = cast("list[Any]", value)
            return [_walk(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(items)]
        case _:
            raise TypeError(f"{type(value).__name__} is not JSON")


def _key(key: Any) -> str:
    return clean(key if isinstance(key, str) else str(key))
