"""Why a client was not let in, or not kept, as an error that a program and a person can act on.

Values only. A refusal comes in three ways: as the HTTP answer to a handshake, as an `error` frame
before a final close, or as a close code alone (an older gateway). What answers, but not as a
gateway does, is `client.no_gateway`.
"""

from http import HTTPStatus
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from gateway.client.bodies import read_answer
from gateway.client.errors import GatewayError
from gateway.client.words import SENTENCES, kind_of, token_fact
from protocol.codes import ERRORS, close_is_final

LOST = 1006
NOT_SIGNED_IN = 4401
NOT_ALLOWED = 4403
NO_GATEWAY = 4404
"""Final for a client that never opened; this client's own, never on the wire."""

_TRANSIENT = frozenset((408, 425, 429))
_SAYS = {4400: "frame.", NOT_SIGNED_IN: "auth.", NOT_ALLOWED: "auth."}
"""Close code -> the codes of an `error` frame that explain it."""


class Refusal(Struct, frozen=True):
    """What a socket that did not open stands for: a close code, and why."""

    code: int
    error: GatewayError

    @property
    def reason(self) -> str:
        """The words of a status."""
        return self.error.cause


def shown(url: str) -> str:
    """A URL for an error's text: without its query and user, which may be secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def no_gateway(url: str, cause: str) -> GatewayError:
    """The error of an address where something else answers; `cause` says what it did."""
    text = f"{SENTENCES['no_gateway']} {cause} Is the URL the gateway's?"
    return GatewayError("client.no_gateway", text, details={"url": shown(url)}, cause=cause)


def handshake_refused(url: str, status: int, body: bytes, *, first: bool) -> Refusal:
    """What an HTTP answer in place of a WebSocket means.

    `first`: the client never opened. Later a strange answer is a proxy's whose gateway restarts,
    and is tried again.
    """
    said = read_answer(body)
    if isinstance(said, GatewayError) and said.code != "client.outdated":
        if said.retryable or status >= 500:
            return Refusal(LOST, said)
        signed_in = kind_of(said.code) != "not_signed_in"
        given = said.code != "auth.required"
        return Refusal(NOT_ALLOWED if signed_in else NOT_SIGNED_IN, explained(said, given=given))
    cause = f"{shown(url)} answered HTTP {_named(status)}."
    if status == HTTPStatus.UNAUTHORIZED:
        return Refusal(NOT_SIGNED_IN, _refused("auth.required", cause, {}))
    if status >= 500 or status in _TRANSIENT:
        return Refusal(LOST, GatewayError("client.unreachable", cause, retryable=True))
    return Refusal(NO_GATEWAY if first else LOST, no_gateway(url, cause))


def explained(error: GatewayError, *, given: bool) -> GatewayError:
    """A refusal at the door with its sentence, and the remedy in this API's words.

    `given`: whether there was a token.
    """
    if error.kind not in ("not_signed_in", "not_allowed"):
        return error
    if error.kind == "not_allowed":
        return _refused(error.code, error.message, error.details)
    code = error.code if given else "auth.required"
    own = ERRORS.get(error.code)
    said = error.message  # an authenticator of the gateway's owner may know more than we do
    ours = not given or own is None or said == own.text or not said
    fact = token_fact(code, error.details, given=given) if ours else said
    return _refused(code, fact, error.details)


class Door:
    """What one client was told of itself since it last set out to connect."""

    def __init__(self) -> None:
        self._given = False
        self._said: GatewayError | None = None
        self._refusal: Refusal | None = None
        self._closed: tuple[int, str] | None = None

    def forget(self) -> None:
        """Nothing was refused: it sets out, or was closed by its own program."""
        self._said = self._refusal = self._closed = None

    def opened(self, token: str | None) -> None:
        """A socket is open, and `token` goes with its hello."""
        self._given = bool(token)
        self._said = self._refusal = None

    def heard(self, error: GatewayError) -> None:
        """An `error` frame that answers nothing: it may explain a close."""
        self._said = error

    def lost(self, code: int, reason: str, refusal: Refusal | None) -> None:
        """A socket is gone; `refusal`: why it did not open."""
        self._closed = (code, reason)
        self._refusal = refusal

    @property
    def delay(self) -> GatewayError | None:
        """The gateway's own word for why it cannot be entered now."""
        refusal = self._refusal
        if refusal is None or refusal.code != LOST or refusal.error.code.startswith("client."):
            return None
        return refusal.error.again()

    def why(self) -> GatewayError | None:
        """Why the connection was ended for good; None: it was not, or not by the gateway."""
        if self._closed is None or not close_is_final(self._closed[0]):
            return None
        if self._refusal is not None:
            return self._refusal.error.again()
        code, reason = self._closed
        said = self._said
        if said is not None and said.code.startswith(_SAYS.get(code, " ")):
            return explained(said, given=self._given).again()
        if code == NOT_SIGNED_IN:
            bare = GatewayError("auth.invalid", ERRORS["auth.invalid"].text)
            return explained(bare, given=self._given)
        if code == NOT_ALLOWED:
            return _refused("auth.forbidden", f"The gateway said: {reason or 'forbidden'}.", {})
        text = f"The gateway closed the connection for good: {code} {reason}".rstrip()
        return GatewayError("client.closed", text)


def _refused(code: str, cause: str, details: dict[str, object]) -> GatewayError:
    kind = kind_of(code)
    assert kind is not None, code
    remedy = {
        "auth.required": "Pass token=… (or api_key=…) to the client.",
        "auth.expired": "Pass a new token, or a function that gives one each time.",
        "auth.invalid": "Pass another token=… to the client.",
    }
    text = f"{SENTENCES[kind]} {cause} {remedy.get(code, '')}".rstrip()
    return GatewayError(code, text, details=details, cause=cause)


def _named(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)
