"""Addresses that a person writes down: where secrets are sent to has to be encrypted, but on our own machine."""

import httpx

from connectors.http import LOOPBACK


def base_of(text: str) -> str | None:
    """Scheme and host of an address; None for what is none."""
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL:
        return None
    if url.scheme not in ("http", "https") or not url.host:
        return None
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def is_open(address: str) -> bool:
    """Whether everybody on the way could read what is sent there."""
    url = httpx.URL(address)
    return url.scheme != "https" and url.host not in LOOPBACK
