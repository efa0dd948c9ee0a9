"""Who asks by HTTP: the token of a request, measured by the limits of its address and subject."""

from starlette.requests import Request

from gateway.auth import Grant
from gateway.delivery.delivery import Delivery
from gateway.delivery.identify import identify
from gateway.transports.answers import bearer
from gateway.transports.proxies import address_of
from protocol.errors import ProtocolError


async def granted_to(request: Request, delivery: Delivery) -> Grant:
    """The grant of the request's token.

    Raises:
        ProtocolError: `auth.…`, or `rate.limited`: the address had too many that were not valid,
            or the subject too many requests.
    """
    address = address_of(request.scope)
    grant = await identify(delivery.auth, delivery.addresses, bearer(request), address)
    if not delivery.addresses.request_of(grant.principal):
        raise ProtocolError("rate.limited")
    return grant
