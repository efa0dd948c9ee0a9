"""An authenticator whose tokens say what they grant."""

import msgspec

from gateway.auth import Grant
from protocol.errors import ProtocolError
from protocol.values import Detail, Principal


class Doors:
    """Tokens `<tenant>/<subject>/<detail>/<expires_at>`; anything else is refused."""

    async def authenticate(self, token: str | None) -> Grant:
        if token is None:
            raise ProtocolError("auth.required")
        try:
            tenant, subject, detail, expires = token.split("/")
        except ValueError:
            raise ProtocolError("auth.invalid") from None
        return Grant(
            Principal(tenant, subject),
            msgspec.convert(detail, Detail),
            float(expires) if expires else None,
        )


ANN_FULL, ANN_ANSWER, BOB = "acme/ann/full/", "acme/ann/answer/", "acme/bob/full/"
