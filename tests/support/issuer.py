"""An issuer of tokens on 127.0.0.1: its key set can be fetched, changed, withheld; it counts.

Raw on purpose: a framework would not answer with too much, with rubbish, or not at all.
"""

import asyncio
import json
import time
from typing import Any, Self

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from gateway.auth.signature import OneAlgorithm

AnyKey = RSAKey | ECKey | OKPKey


def rsa_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


def ec_key(kid: str, curve: str = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {"kid": kid})


def okp_key(kid: str) -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"kid": kid})


def claims(subject: str = "ann", **more: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {"sub": subject, "tenant": "acme", "iat": now, "exp": now + 3_600}
    return {**said, "aud": "agent-gateway", "detail": "full", **more}


def signed(key: AnyKey, algorithm: str, said: Any = None, **header: Any) -> str:
    """A token; `kid=None` leaves the key's name out."""
    head = {"alg": algorithm, "typ": "JWT", "kid": key.kid, **header}
    head = {name: value for name, value in head.items() if value is not None}
    payload = json.dumps(said or claims()).encode()
    return jws.serialize_compact(head, payload, key, registry=OneAlgorithm(algorithm))


def key_set(*keys: AnyKey, **members: Any) -> bytes:
    entries = [{**key.as_dict(private=False), **members} for key in keys]
    return json.dumps({"keys": entries}).encode()


class Issuer:
    """`async with Issuer(body) as issuer:` serves `body` at `issuer.url`.

    `fetches` counts. While `silent`, a request gets no answer; `status` is that of the others.
    """

    def __init__(self, body: bytes = b"", port: int = 0) -> None:
        self.body = body
        self.status = 200
        self.silent = False
        self.fetches = 0
        self.open = 0
        self.most_open = 0
        self._port = port
        self._server: asyncio.Server | None = None
        self._quiet: asyncio.Event = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/jwks.json"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._quiet.set()
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.fetches += 1
            self.open += 1
            self.most_open = max(self.open, self.most_open)
            if self.silent:
                await self._quiet.wait()
                return
            head = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(self.body)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + self.body)
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass  # nobody waits for it
        finally:
            self.open -= 1
            writer.close()

    def speak(self) -> None:
        """No longer silent; who waits is hung up on."""
        self.silent = False
        self._quiet.set()
        self._quiet = asyncio.Event()
