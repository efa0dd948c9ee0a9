"""Who holds a token or a ticket, asked by way of the address that it came from.

An address with too many bad ones gets `rate.limited`, and none of its tokens is looked at for a
while; that is retryable, since behind it may be others who have good ones. Every refusal is a line
of the audit log, as many as such an address may have.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from gateway import audit
from gateway.auth import Authenticator, Grant
from gateway.delivery.addresses import Addresses
from protocol.errors import ProtocolError


async def identify(
    auth: Authenticator, addresses: Addresses, token: str | None, address: str
) -> Grant:
    """The grant of a token (None: there was none).

    Raises:
        ProtocolError: `auth.…` as the authenticator says, or `rate.limited`.
    """
    ask = partial(auth.authenticate, token)
    return await measured(ask, addresses, address, shown=token is not None)


async def measured(
    ask: Callable[[], Awaitable[Grant]], addresses: Addresses, address: str, *, shown: bool = True
) -> Grant:
    """What `ask` grants. `shown`: there is something to look at that may be bad.

    Raises:
        ProtocolError: as `ask` does, or `rate.limited`.
    """
    if shown and not addresses.may_try(address):
        text = "Too many tokens from this address were not valid; try again later."
        raise ProtocolError("rate.limited", text)
    try:
        return await ask()
    except ProtocolError as error:
        if error.code.startswith("auth.") and not error.retryable:
            if shown:
                addresses.failed(address)
            audit.record("authenticate", "refused", code=error.code, address=address or None)
        raise
