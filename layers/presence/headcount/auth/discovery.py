"""What the dashboard needs to sign people in: the endpoints that an issuer publishes (OpenID
Connect Discovery), checked, because they become part of the page's content security policy."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from headcount.auth.keys import fetch
from headcount.logs import logger
from headcount.times import HOUR, SECOND

WELL_KNOWN = "/.well-known/openid-configuration"
LIFESPAN = HOUR
RETRY_AFTER = 10 * SECOND
TIMEOUT = 2.0
"""Seconds: the page waits for it."""

_ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "end_session_endpoint",
    "revocation_endpoint",
)
_NEEDED = _ENDPOINTS[:2]
_CALLED = ("token_endpoint", "revocation_endpoint")  # by the page's scripts; the others open
_REST = (
    "authorization_response_iss_parameter_supported",
    "id_token_signing_alg_values_supported",
)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?")


class SignIn(Struct, frozen=True):
    """How people sign in to the dashboard, as the operator set it."""

    issuer: str
    client: str
    """The id of the public client that is registered at the issuer."""
    scopes: str
    """Separated by spaces."""
    token: str
    """Which of the issuer's tokens the API gets: ``access`` or ``id``."""
    audience: tuple[str, str] | None
    """The parameter that asks for the access token's audience, and its value."""


class Issuer:
    """An issuer's published endpoints. ``clock`` returns epoch milliseconds; ``insecure`` allows
    http, for an issuer on this machine."""

    def __init__(self, sign_in: SignIn, clock: Callable[[], int], *, insecure: bool) -> None:
        self._sign_in = sign_in
        self._clock = clock
        self._insecure = insecure
        self._server: Mapping[str, Any] | None = None
        self._tried_at: int | None = None

    def config(self) -> dict[str, Any]:
        """What the page needs to sign people in, or ``problem``, why it can't."""
        if not self._sign_in.issuer:
            return {"problem": "sign-in-client is set, and TokenIssuer is not: deploy with both."}
        server = self._known()
        if server is None:
            return {"problem": "The sign-in's issuer can't be reached now. Try again in a minute."}
        given = self._sign_in
        return {
            "server": server,
            "clientId": given.client,
            "scope": given.scopes,
            "token": given.token,
            "audience": dict([given.audience]) if given.audience else {},
        }

    def origins(self) -> list[str]:
        """The origins that the page's scripts call to sign people in."""
        server = self._known() or {}
        return sorted({_origin(server[name]) for name in _CALLED if name in server})

    def _known(self) -> Mapping[str, Any] | None:
        if not self._sign_in.issuer:
            return None
        now = self._clock()
        lifespan = RETRY_AFTER if self._server is None else LIFESPAN
        if self._tried_at is None or not self._tried_at <= now < self._tried_at + lifespan:
            self._tried_at = now
            try:
                found = fetch(self._sign_in.issuer.rstrip("/") + WELL_KNOWN, TIMEOUT)
                self._server = self._checked(found)
            except (OSError, http.client.HTTPException, ValueError, RecursionError):
                # What is known stays in use.
                logger().warning("the sign-in's issuer can't be discovered", exc_info=True)
        return self._server

    def _checked(self, document: Any) -> Mapping[str, Any]:
        """The part of the document that the page needs. ValueError if it is not this issuer's."""
        if not isinstance(document, dict) or document.get("issuer") != self._sign_in.issuer:
            raise ValueError("another issuer")
        found = {name: document[name] for name in _ENDPOINTS if document.get(name)}
        if not all(name in found for name in _NEEDED):
            raise ValueError("no endpoints to sign in at")
        schemes = ("https://", "http://") if self._insecure else ("https://",)
        for url in found.values():
            if not isinstance(url, str) or not url.startswith(schemes):
                raise ValueError("an endpoint that is not https")
            _origin(url)
        rest = {name: document[name] for name in _REST if name in document}
        return {"issuer": self._sign_in.issuer, **found, **rest}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    if not _ORIGIN.fullmatch(origin):  # it could smuggle directives into the policy
        raise ValueError("an endpoint without a plain origin")
    return origin
