"""HTTP clients for gateways of this machine, through no proxy."""

from typing import Any

import httpx2


def http_client(base_url: str = "", *, timeout: float = 30, **options: Any) -> httpx2.AsyncClient:
    """One that waits for longer than a busy machine makes anybody wait."""
    return httpx2.AsyncClient(base_url=base_url, trust_env=False, timeout=timeout, **options)
