"""The public keys of the tokens' issuer (RFC 7517), fetched, kept, and fetched anew when old.

`run` alone fetches, so there is one request at a time; who needs a key that is not there waits for
it. A flood of tokens with keys that nobody knows causes one request a minute. Only public keys that
fit the one algorithm are taken: a token can never choose how its signature is checked.
"""

import asyncio
import base64
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import httpx2
import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from msgspec import Struct

from gateway.auth import Clock
from gateway.auth.signature import OneAlgorithm, check_form, signed_by
from gateway.settings import Algorithm
from protocol.errors import ProtocolError

REFRESH_S = 600.0
"""How often the keys are looked up; a key that is withdrawn is good for no longer."""
AGAIN_S = 60.0
"""Between two fetches, whatever is asked for, once there are keys."""
FIRST_WAITS_S = (1.0, 15.0)
"""Between the tries to get the first keys: doubled each time."""
STALE_S = 86_400.0
"""Keys that could not be looked up for so long are not used any more."""
FETCH_S = 5.0
MAX_BYTES = 262_144
MAX_KEYS = 100
MIN_RSA_BITS = 2048

log = logging.getLogger("gateway.auth")

PublicKey = RSAKey | ECKey | OKPKey


class Family(NamedTuple):
    """What a key must be to fit an algorithm."""

    kind: type[RSAKey] | type[ECKey] | type[OKPKey]
    curve: str | None
    members: tuple[str, ...]
    """Those of the public key; no other is looked at."""


FAMILIES: dict[Algorithm, Family] = {
    "RS256": Family(RSAKey, None, ("n", "e")),
    "PS256": Family(RSAKey, None, ("n", "e")),
    "ES256": Family(ECKey, "P-256", ("crv", "x", "y")),
    "EdDSA": Family(OKPKey, "Ed25519", ("crv", "x")),
}


class _Header(Struct):
    kid: str | None = None


class _Document(Struct):
    keys: list[Any]


class _Jwk(Struct):
    kty: str
    kid: str | None = None
    use: str = "sig"
    alg: str | None = None
    key_ops: list[str] = msgspec.field(default_factory=lambda: ["verify"])


class FetchError(Exception):
    """There was no answer, or none that is a key set; the text is for the log."""


class KeySet:
    """The key set at `url`; `run` must run while it is used."""

    def __init__(
        self,
        url: str,
        algorithm: Algorithm = "RS256",
        *,
        clock: Clock = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._url = url
        self._name: Algorithm = algorithm
        self._algorithm = OneAlgorithm(algorithm)
        self._clock = clock
        self._jitter = jitter
        # kid -> key; of a key without a name the kid is None
        self._keys: dict[str | None, PublicKey] = {}
        self._began_at = -math.inf  # of the newest fetch
        self._known_at = -math.inf  # of the newest that succeeded
        self._fetching = False
        self._asked = asyncio.Event()
        self._fetched = asyncio.Event()  # of the fetch in flight, or the next one

    @property
    def unready(self) -> str | None:
        """Why tokens cannot be checked; None: they can."""
        return None if self._keys else "the keys of the tokens are not known"

    async def payload(self, token: str) -> bytes:
        """As `Verifier`; waits for a fetch that may bring the key, `FETCH_S` at most."""
        check_form(token)
        kid = _kid(token)
        if not self._has(kid) and self._may_come():
            await self._fetch_soon()
        if not self._keys:
            raise ProtocolError("auth.unavailable")
        if not self._has(kid):
            raise ProtocolError("auth.invalid")
        key = next(iter(self._keys.values())) if kid is None else self._keys[kid]
        return signed_by(key, token, self._algorithm)

    def _has(self, kid: str | None) -> bool:
        """Who names no key means the only one."""
        return len(self._keys) == 1 if kid is None else kid in self._keys

    def _may_come(self) -> bool:
        return self._fetching or self._clock() - self._began_at >= AGAIN_S

    async def _fetch_soon(self) -> None:
        fetched = self._fetched
        if not self._fetching:
            self._asked.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(FETCH_S + 1):
                await fetched.wait()

    async def run(self) -> None:
        """Fetches when it is time, until cancelled."""
        first, longest = FIRST_WAITS_S
        wait, told = first, ""
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with httpx2.AsyncClient(headers=headers, timeout=FETCH_S) as http:
            while True:
                problem = await self._round(http)
                if problem and problem != told:
                    log.warning("the keys of the tokens: %s", problem)
                elif told and not problem:
                    log.info("the keys of the tokens are there")
                told = problem
                if self._keys:
                    wait = first
                    pause = AGAIN_S if problem else REFRESH_S
                else:
                    pause, wait = wait, min(2 * wait, longest)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause * (1 + 0.1 * self._jitter())):
                        await self._asked.wait()

    async def _round(self, http: httpx2.AsyncClient) -> str:
        """One fetch; what was wrong with it."""
        self._asked.clear()
        self._began_at, self._fetching = self._clock(), True
        problem = ""
        try:
            async with asyncio.timeout(FETCH_S):
                self._keys = public_keys(await self._get(http), self._name)
            self._known_at = self._began_at
            if not self._keys:
                problem = f"none at {self._url} is for {self._name}"
        except Exception as error:  # noqa: BLE001 - the top of a task that must not end
            problem = f"{self._url} gave none: {str(error) or type(error).__name__}"
            if self._clock() - self._known_at > STALE_S:
                self._keys = {}
        finally:
            self._fetching = False
            self._fetched.set()
            self._fetched = asyncio.Event()
        return problem

    async def _get(self, http: httpx2.AsyncClient) -> bytes:
        async with http.stream("GET", self._url) as response:
            if response.status_code != 200:
                raise FetchError(f"status {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise FetchError(f"more than {MAX_BYTES} bytes")
            return bytes(body)


def public_keys(document: bytes, algorithm: Algorithm) -> dict[str | None, PublicKey]:
    """The keys of a key set that fit the algorithm, by their `kid`; others are left out.

    Raises:
        FetchError: it is no key set.
    """
    try:
        entries: Sequence[Any] = msgspec.json.decode(document, type=_Document).keys
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise FetchError(f"no key set: {error}") from None
    if len(entries) > MAX_KEYS:
        raise FetchError(f"more than {MAX_KEYS} keys")
    keys: dict[str | None, PublicKey] = {}
    for entry in entries:
        with suppress(JoseError, msgspec.ValidationError, ValueError, TypeError, KeyError):
            jwk = msgspec.convert(entry, _Jwk)
            if (key := _fitting(jwk, entry, algorithm)) is not None:
                keys[jwk.kid] = key
    return keys


def _fitting(jwk: _Jwk, entry: dict[str, Any], algorithm: Algorithm) -> PublicKey | None:
    """The public key, if it may check signatures of that algorithm and is strong enough."""
    family = FAMILIES[algorithm]
    if (
        jwk.kty != family.kind.key_type
        or jwk.use != "sig"
        or jwk.alg not in (None, algorithm)
        or "verify" not in jwk.key_ops
        or entry.get("crv") != family.curve
    ):
        return None
    public = {"kty": jwk.kty, **{name: entry[name] for name in family.members}}
    if family.kind is RSAKey and 8 * len(_decoded(entry["n"])) < MIN_RSA_BITS:
        return None
    return family.kind.import_key(public)


def _kid(token: str) -> str | None:
    """The name of the key in the token's header, which nobody has checked yet."""
    text = token.partition(".")[0]
    try:
        return msgspec.json.decode(_decoded(text), type=_Header).kid
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ProtocolError("auth.invalid") from error


def _decoded(text: str) -> bytes:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
