"""Tokens: JWTs signed with a shared secret (HS256) or with a key of a key set (RS256, ES256).

The one place that verifies tokens. The first token imports PyJWT and its cryptography, so that a
beat without a token does not pay for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headcount.errors import UnauthorizedError
from headcount.model.access import Caller
from headcount.model.beat import check_text
from headcount.times import SECOND

if TYPE_CHECKING:
    from headcount.auth.keys import KeySet, SharedSecret

LEEWAY = 30
"""Seconds by which an issuer's clock may differ from the server's."""
LONGEST_LIFE = 10 * 365 * 24 * 3600
"""Seconds for which a token may still be valid: a stolen one must end some day. Servers have tokens
of years."""
MAX_TOKEN = 8 * 1024
"""Characters of a token; a longer one is refused before it is parsed."""


class TokenSettings(Struct, frozen=True):
    """How tokens are verified: by the key set at ``jwks_url``, or without one by the secret."""

    admin_claim: str  # "headcount=admin": a claim that equals or lists this value
    jwks_url: str = ""
    issuer: str = ""
    audience: str = ""
    scope_claim: str = ""  # the claim with the scopes: a list, or text separated by spaces


class Verifier:
    """Verifies tokens. ``secret`` reads the shared secret, ``clock`` returns epoch milliseconds."""

    def __init__(
        self, settings: TokenSettings, secret: Callable[[], str], clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._read_secret = secret
        self._clock = clock
        claim, _, value = settings.admin_claim.partition("=")
        self._admin_claim, self._admin_value = claim, value or "true"

    def verify(self, token: str) -> Caller:
        """The caller that a token identifies. UnauthorizedError, or BusyError without its keys."""
        return self.verify_until(token)[0]

    def verify_until(self, token: str) -> tuple[Caller, int]:
        """``verify``, and until when the token proves this: epoch milliseconds."""
        if len(token) > MAX_TOKEN:
            raise UnauthorizedError(f"The token is too long: at most {MAX_TOKEN} characters.")
        claims = self._claims(token)
        caller = Caller(
            subject=_text_claim(claims.get("sub")),
            admin=self._is_admin(claims),
            name=_display_claim(claims.get("name")),
            picture=_display_claim(claims.get("picture")),
            scopes=self._scopes(claims),
        )
        return caller, (int(claims["exp"]) + LEEWAY) * SECOND

    def _claims(self, token: str) -> Mapping[str, Any]:
        import jwt

        from headcount.auth.keys import UnknownKeyError

        try:
            header = jwt.get_unverified_header(token)
            if "crit" in header:  # it lists extensions that must be supported; none is
                raise jwt.InvalidTokenError
            # The settings choose the algorithm, never the token alone: a public key must not be
            # used as a shared secret.
            if self._settings.jwks_url:
                return self._decoded(token, self._key_set.key(header.get("kid")), _BY_KEY_SET)
            try:
                return self._decoded(token, self._secret.value(), _BY_SECRET)
            except jwt.InvalidSignatureError:
                if not self._secret.was_rotated():
                    raise
                return self._decoded(token, self._secret.value(), _BY_SECRET)
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError("The token has expired. Get a new one.") from None
        except (jwt.PyJWTError, UnknownKeyError, ValueError, TypeError, RecursionError):
            raise UnauthorizedError(
                "The token is not valid here. Send one issued for this deployment."
            ) from None

    def _decoded(self, token: str, key: Any, algorithms: list[str]) -> Mapping[str, Any]:
        import jwt

        claims: Mapping[str, Any] = jwt.decode(
            token,
            key=key,
            algorithms=algorithms,
            issuer=self._settings.issuer or None,
            audience=self._settings.audience or None,
            leeway=LEEWAY,
            options={
                "require": ["exp"],
                "verify_aud": bool(self._settings.audience),
                "verify_iss": bool(self._settings.issuer),
            },
        )
        if claims["exp"] > time.time() + LONGEST_LIFE:  # PyJWT's clock
            raise UnauthorizedError(
                "The token is valid for too long: at most 10 years are accepted. Have one issued "
                "that expires earlier."
            )
        return claims

    def _is_admin(self, claims: Mapping[str, Any]) -> bool:
        claim = claims.get(self._admin_claim)
        if isinstance(claim, bool):
            return claim and self._admin_value == "true"
        if isinstance(claim, list):
            return self._admin_value in claim
        return isinstance(claim, str) and claim == self._admin_value

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str]:
        name = self._settings.scope_claim
        claim = claims.get(name) if name else None
        words = claim.split() if isinstance(claim, str) else claim
        if not isinstance(words, list):
            return frozenset()
        return frozenset(word for word in words if isinstance(word, str))

    @cached_property
    def _secret(self) -> SharedSecret:
        from headcount.auth.keys import SharedSecret

        return SharedSecret(self._read_secret, self._clock)

    @cached_property
    def _key_set(self) -> KeySet:
        from headcount.auth.keys import KeySet

        return KeySet(self._settings.jwks_url, self._clock)


_BY_KEY_SET = ["RS256", "ES256"]
_BY_SECRET = ["HS256"]


def _text_claim(claim: object) -> str | None:
    """A claim's text. JSON may hold lone surrogates, which neither tables nor responses accept."""
    if not isinstance(claim, str) or not claim:
        return None
    return claim if claim == claim.encode(errors="ignore").decode() else None


def _display_claim(claim: object) -> str | None:
    """A claim's text if it can be displayed; otherwise None, and the token stays valid."""
    text = _text_claim(claim)
    try:
        return check_text(text, MAX_TOKEN) if text is not None else None
    except ValueError:
        return None


def takes_cookie(method: str, headers: Mapping[str, str], origins: Collection[str]) -> bool:
    """Whether a token in a cookie is accepted, as any page can make a browser send cookies.

    It is for pages of the API's own origin and of the ``origins`` listed by name; ``*`` lists none.
    ``headers`` have lower-case names.
    """
    origin = headers.get("origin")
    if origin in origins and origin not in {"*", "null"}:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:  # pages can't set it
        return site in {"same-origin", "none"}
    if origin is None:  # browsers send it with every request that may change something
        return method in {"GET", "HEAD"}
    return origin == f"{headers.get('x-forwarded-proto', 'https')}://{headers.get('host')}"


def token_in(
    headers: Mapping[str, str],
    query: Mapping[str, str],
    cookies: list[str],
    cookie_name: str,
) -> str | None:
    """A request's token, from the Authorization header, ``?token=`` or the named cookie."""
    scheme, _, value = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if query.get("token"):
        return query["token"]
    for cookie in cookies if cookie_name else ():
        name, _, value = cookie.strip().partition("=")
        if name == cookie_name and value:
            return value
    return None
