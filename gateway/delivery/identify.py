"""Who holds a token, asked by way of the address that it came from.

An address with too many bad tokens gets `rate.limited`, and none of its tokens is looked at for a
while; that is retryable, since behind it may be others who have good ones. Every refusal is a line
of the audit log, as many as such an address may have.
"""

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
    if token is not None and not addresses.may_try(address):
        text = "Too many tokens from this address were not valid; try again later."
        raise ProtocolError("rate.limited", text)
    try:
        return await auth.authenticate(token)
    except ProtocolError as error:
        if error.code.startswith("auth."):
            if token is not None:
                addresses.failed(address)
            audit.record("authenticate", "refused", code=error.code, address=address or None)
        raise
