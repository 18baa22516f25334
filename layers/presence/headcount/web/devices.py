"""The type of device a User-Agent names: generic types only, no fingerprint. Pure."""

from __future__ import annotations

import re

DESKTOP, MOBILE, TABLET = "desktop", "mobile", "tablet"

_TABLET = re.compile(r"iPad|Tablet|PlayBook|Silk(?!.*Mobile)|Kindle|Android(?!.*Mobile)", re.I)
_MOBILE = re.compile(r"Mobi|iPhone|iPod|Android|Windows Phone|BlackBerry|Opera Mini", re.I)
_BROWSER = "Mozilla/"  # the User-Agents of all browsers begin with it, those of libraries don't


def device_of(user_agent: str) -> str:
    """``desktop``, ``mobile`` or ``tablet``; ``desktop`` if the User-Agent names no type."""
    if _TABLET.search(user_agent):
        return TABLET
    return MOBILE if _MOBILE.search(user_agent) else DESKTOP


def is_browser(user_agent: str) -> bool:
    """Whether a browser sent the request, not a library or a tool."""
    return user_agent.startswith(_BROWSER)
