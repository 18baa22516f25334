"""The proxy of an address, as the environment names it."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_SAME_AS = {"ws": "http", "wss": "https"}


def as_http(url: str) -> str:
    """A WebSocket's address as HTTP requests name it: proxies don't know ``ws:``."""
    scheme, rest = url.split(":", 1)
    return f"{_SAME_AS.get(scheme, scheme)}:{rest}"


def proxy_for(url: str) -> str | None:
    """From HTTP_PROXY or HTTPS_PROXY, unless NO_PROXY names the host. A WebSocket has the same one.

    aiohttp's ``trust_env`` would ignore both for WebSockets, and take passwords from ~/.netrc.
    """
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    known = getproxies()
    return known.get(parts.scheme) or known.get(_SAME_AS.get(parts.scheme, ""))
