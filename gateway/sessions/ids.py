"""Ids: random ones for what is new, derived ones for what a repeat must find again."""

import base64
import hashlib
import secrets


def random_id(prefix: str) -> str:
    """A fresh id of 96 random bits, such as `r_8fJ2…`."""
    return f"{prefix}_{secrets.token_urlsafe(12)}"


def derived_id(prefix: str, *parts: str) -> str:
    """The same id for the same parts, without a chance to guess it from other ids."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=15).digest()
    return f"{prefix}_{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
