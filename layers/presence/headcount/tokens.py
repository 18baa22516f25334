"""Tokens: JWTs by a shared secret (HS256) or by a key set at a URL (RS256, ES256).

The one place that verifies. PyJWT, and cryptography behind it, are imported when the first token
comes: a beat without one does not pay for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from headcount.errors import BusyError, ForbiddenError, UnauthorizedError

if TYPE_CHECKING:
    from jwt import PyJWKClient

LEEWAY = 30
"""Seconds by which an issuer's clock may differ from ours."""

_JWKS_TIMEOUT = 3
_JWKS_LIFESPAN = 3600


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a valid token speaks for."""

    subject: str | None
    admin: bool
    name: str | None = None
    picture: str | None = None


@dataclass(frozen=True)
class TokenSettings:
    """How tokens are checked. With a ``jwks_url`` the secret is not used, and the reverse."""

    admin_claim: str  # "headcount=admin": a claim that equals, or lists, this value
    jwks_url: str = ""
    issuer: str = ""
    audience: str = ""


class Verifier:
    """Checks tokens. ``secret`` fetches the shared secret; it is asked once per ``Verifier``."""

    def __init__(self, settings: TokenSettings, secret: Callable[[], str]) -> None:
        self._settings = settings
        self._fetch_secret = secret
        claim, _, value = settings.admin_claim.partition("=")
        self._admin_claim, self._admin_value = claim, value or "true"

    def verify(self, token: str) -> Caller:
        """The caller a token speaks for. Raises UnauthorizedError; BusyError without its keys."""
        import jwt

        try:
            key, algorithms = self._key(token)
            claims = jwt.decode(
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
        except jwt.ExpiredSignatureError:
            raise UnauthorizedError("The token has expired. Get a new one.") from None
        except jwt.PyJWKClientConnectionError:
            raise BusyError(
                "The token can't be checked now: its issuer's keys are out of reach. Try again."
            ) from None
        except (jwt.InvalidTokenError, jwt.PyJWKClientError, ValueError):
            raise UnauthorizedError(
                "The token is not valid here. Send one issued for this deployment."
            ) from None
        subject = claims.get("sub")
        return Caller(
            subject=subject if isinstance(subject, str) and subject else None,
            admin=self._is_admin(claims),
            name=_text(claims.get("name")),
            picture=_text(claims.get("picture")),
        )

    def _is_admin(self, claims: Mapping[str, Any]) -> bool:
        claim = claims.get(self._admin_claim)
        if isinstance(claim, bool):
            return claim and self._admin_value == "true"
        if isinstance(claim, list):
            return self._admin_value in claim
        return isinstance(claim, str) and claim == self._admin_value

    def _key(self, token: str) -> tuple[Any, list[str]]:
        # The algorithm follows from the settings, never from the token alone: a public key must
        # not be taken for a shared secret.
        if self._settings.jwks_url:
            return self._jwks.get_signing_key_from_jwt(token).key, ["RS256", "ES256"]
        return self._secret, ["HS256"]

    @cached_property
    def _secret(self) -> str:
        return self._fetch_secret()

    @cached_property
    def _jwks(self) -> PyJWKClient:
        from jwt import PyJWKClient

        return PyJWKClient(
            self._settings.jwks_url,
            cache_keys=True,  # a known key goes on working while the issuer is down
            lifespan=_JWKS_LIFESPAN,
            timeout=_JWKS_TIMEOUT,
        )


def _text(claim: object) -> str | None:
    return claim if isinstance(claim, str) and claim else None


def require_admin(caller: Caller | None) -> None:
    """Let admins pass; UnauthorizedError without a token, ForbiddenError with another's."""
    if caller is None:
        raise UnauthorizedError(
            "A token is missing. Send 'Authorization: Bearer <token>' or '?token=<token>'."
        )
    if not caller.admin:
        raise ForbiddenError("The token does not allow this: it needs the admin claim.")


def token_in(
    headers: Mapping[str, str],
    query: Mapping[str, str],
    cookies: list[str],
    cookie_name: str,
) -> str | None:
    """The token of a request: the Authorization header, ``?token=``, or the named cookie."""
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
