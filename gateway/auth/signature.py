"""Whose signature a token bears (RFC 7515), the algorithm fixed whatever its header says.

Loads the cryptography; nothing that runs without tokens imports it. What a payload says, and for
how long, is not looked at here.
"""

import re
from typing import Any, Protocol

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import OctKey

from protocol.errors import ProtocolError

MAX_TOKEN_CHARS = 8_192
SYMMETRIC = "HS256"
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class Verifier(Protocol):
    """Knows keys."""

    async def payload(self, token: str) -> bytes:
        """What was signed, if it was with a key that it knows.

        Raises:
            ProtocolError: `auth.invalid`, or `auth.unavailable` while no key is known.
        """
        ...

    @property
    def unready(self) -> str | None:
        """Why no signature can be checked; None: they can."""
        ...

    async def run(self) -> None:
        """Keeps the keys fresh, until cancelled; ends at once if they never change."""
        ...


class OneAlgorithm(jws.JWSRegistry):
    """The one algorithm that a token may have; header fields that nobody knows are ignored."""

    def __init__(self, name: str) -> None:
        super().__init__(algorithms=[name], strict_check_header=False)
        self._name = name

    def get_alg(self, name: str) -> Any:
        """The algorithm, if it is the one."""
        if name != self._name:
            raise UnsupportedAlgorithmError(f"Algorithm of {name!r} is not allowed")
        return self.algorithms[name]


def check_form(token: str) -> None:
    """Before anything of it is parsed. Raises `ProtocolError` `auth.invalid`."""
    if len(token) > MAX_TOKEN_CHARS or not _COMPACT.fullmatch(token):
        raise ProtocolError("auth.invalid")


def signed_by(key: Any, token: str, algorithm: OneAlgorithm) -> bytes:
    """The payload of a token that was signed with `key`. Raises `ProtocolError`."""
    try:
        return jws.deserialize_compact(token, key, registry=algorithm).payload or b""
    except (JoseError, ValueError, TypeError, RecursionError) as error:
        raise ProtocolError("auth.invalid") from error


class SharedSecret:
    """Tokens signed with a secret (HS256); or with the one before, while it is being replaced."""

    unready = None

    def __init__(self, secret: str, previous: str | None = None) -> None:
        self._keys = [OctKey.import_key(text) for text in (secret, previous) if text is not None]
        self._algorithm = OneAlgorithm(SYMMETRIC)

    async def payload(self, token: str) -> bytes:
        """As `Verifier`."""
        check_form(token)
        for key in self._keys[:-1]:
            try:
                return signed_by(key, token, self._algorithm)
            except ProtocolError:
                pass  # perhaps with the other
        return signed_by(self._keys[-1], token, self._algorithm)

    async def run(self) -> None:
        """They never change."""
