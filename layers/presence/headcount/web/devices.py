"""What a User-Agent and its companions name: the type of device, the browser, the system and the
language. Generic names only, no versions and no fingerprint. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

DESKTOP, MOBILE, TABLET = "desktop", "mobile", "tablet"

_TABLET = re.compile(r"iPad|Tablet|PlayBook|Silk(?!.*Mobile)|Kindle|Android(?!.*Mobile)", re.I)
_MOBILE = re.compile(r"Mobi|iPhone|iPod|Android|Windows Phone|BlackBerry|Opera Mini", re.I)
_BROWSERS = {
    # The first that is named: each is also called what follows it.
    "Edge": re.compile(r"Edg(e|A|iOS)?/"),
    "Opera": re.compile(r"OPR/|Opera|OPT/"),
    "Samsung Internet": re.compile(r"SamsungBrowser/"),
    "Yandex": re.compile(r"YaBrowser/"),
    "Firefox": re.compile(r"Firefox/|FxiOS/"),
    "Chrome": re.compile(r"Chrome/|CriOS/"),
    "Safari": re.compile(r"Safari/|AppleWebKit/.*Mobile/"),
}
_SYSTEMS = {
    "Windows": re.compile(r"Windows"),
    "Android": re.compile(r"Android"),
    "iOS": re.compile(r"iPhone|iPad|iPod"),
    "macOS": re.compile(r"Macintosh"),
    "ChromeOS": re.compile(r"CrOS"),
    "Linux": re.compile(r"Linux|X11"),
}
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?![A-Za-z])")
_BROWSER = "Mozilla/"  # the User-Agents of all browsers begin with it, those of libraries don't


def device_of(user_agent: str) -> str:
    """``desktop``, ``mobile`` or ``tablet``; ``desktop`` if the User-Agent names no type."""
    if _TABLET.search(user_agent):
        return TABLET
    return MOBILE if _MOBILE.search(user_agent) else DESKTOP


def is_browser(user_agent: str) -> bool:
    """Whether a browser sent the request, not a library or a tool."""
    return user_agent.startswith(_BROWSER)


def sources_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The ``browser``, ``os`` and ``language`` that a browser's headers name; nothing if it asks
    not to be tracked. Names of headers are in lower case."""
    if headers.get("dnt") == "1" or headers.get("sec-gpc") == "1":
        return {}
    user_agent = headers.get("user-agent", "")
    language = _LANGUAGE.match(headers.get("accept-language", ""))
    found = {
        "browser": _first(_BROWSERS, user_agent),
        "os": _first(_SYSTEMS, user_agent),
        "language": language[0].lower() if language else None,
    }
    return {name: value for name, value in found.items() if value}


def _first(names: Mapping[str, re.Pattern[str]], user_agent: str) -> str | None:
    return next((name for name, pattern in names.items() if pattern.search(user_agent)), None)
