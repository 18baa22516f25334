"""Tokens: JWTs by a shared secret (HS256) or by a key set at a URL (RS256, ES256).

The one place that verifies. PyJWT, and cryptography behind it, are imported when the first token
comes: a beat without one does not pay for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from headcount.beats import check_text
from headcount.errors import ForbiddenError, UnauthorizedError
from headcount.spaces import ID, KIND, kind_of

if TYPE_CHECKING:
    from headcount.token_keys import KeySet, Secret

LEEWAY = 30
"""Seconds by which an issuer's clock may differ from ours."""
MAX_TOKEN = 8 * 1024
"""Characters of a token: what is longer is not even parsed."""


class Action(StrEnum):
    """What a scope may allow."""

    READ = "read"  # numbers: counts, timelines, days, live spaces, dashboards' sockets
    PEOPLE = "people"  # who is here, by name and session
    MODERATE = "moderate"  # alerts, messages, removals and their record
    INGEST = "ingest"  # what servers say: streams and their state, revenue, infrastructure
    CONTAINERS = "containers"  # launch, stop and look up
    ERASE = "erase"  # every trace of a person


EVERYWHERE = "*"
"""Every space there is, and what belongs to none."""

_WHERE = re.compile(rf"\*|{KIND.pattern}:(\*|{ID.pattern})")


@dataclass(frozen=True, slots=True)
class Scope:
    """What something needs: an action, and where. ``space`` is a space, ``kind:*`` or ``*``; None:
    in any space at all, of which there is then no more to see than the token allows."""

    action: Action
    space: str | None

    def __str__(self) -> str:
        return f"{self.action}:{self.space or 'kind:id'}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a valid token speaks for."""

    subject: str | None
    admin: bool
    name: str | None = None
    picture: str | None = None
    scopes: frozenset[str] = frozenset()  # as the token says them: read:site:main, people:course:*

    def spaces(self, action: Action) -> frozenset[str]:
        """Where this may be done: spaces, ``kind:*`` and ``*``."""
        if self.admin:
            return frozenset({EVERYWHERE})
        split = [scope.partition(":") for scope in self.scopes]
        return frozenset(
            where for name, _, where in split if name in {action, "*"} and _WHERE.fullmatch(where)
        )


def covers(spaces: Collection[str], space: str) -> bool:
    """Whether a space, or a ``kind:*`` as a whole, is among these."""
    return bool({space, f"{kind_of(space)}:*", EVERYWHERE} & {*spaces})


@dataclass(frozen=True)
class TokenSettings:
    """How tokens are checked. With a ``jwks_url`` the secret is not used, and the reverse."""

    admin_claim: str  # "headcount=admin": a claim that equals, or lists, this value
    jwks_url: str = ""
    issuer: str = ""
    audience: str = ""
    scope_claim: str = ""  # the claim that holds scopes, a list or separated by spaces


class Verifier:
    """Checks tokens. ``secret`` reads the shared secret, ``clock`` gives epoch milliseconds."""

    def __init__(
        self, settings: TokenSettings, secret: Callable[[], str], clock: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._read_secret = secret
        self._clock = clock
        claim, _, value = settings.admin_claim.partition("=")
        self._admin_claim, self._admin_value = claim, value or "true"

    def verify(self, token: str) -> Caller:
        """The caller a token speaks for. Raises UnauthorizedError; BusyError without its keys."""
        if len(token) > MAX_TOKEN:
            raise UnauthorizedError(f"The token is too long: at most {MAX_TOKEN} characters.")
        claims = self._claims(token)
        return Caller(
            subject=_text(claims.get("sub")),
            admin=self._is_admin(claims),
            name=_shown(claims.get("name")),
            picture=_shown(claims.get("picture")),
            scopes=self._scopes(claims),
        )

    def _claims(self, token: str) -> Mapping[str, Any]:
        import jwt

        from headcount.token_keys import UnknownKeyError

        try:
            header = jwt.get_unverified_header(token)
            if "crit" in header:  # extensions that must be understood: none is
                raise jwt.InvalidTokenError
            # The algorithm follows from the settings, never from the token alone: a public key
            # must not be taken for a shared secret.
            if self._settings.jwks_url:
                return self._decoded(token, self._key_set.key(header.get("kid")), _BY_KEY_SET)
            try:
                return self._decoded(token, self._secret.value(), _BY_SECRET)
            except jwt.InvalidSignatureError:
                if not self._secret.rotated():
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

        return jwt.decode(
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
    def _secret(self) -> Secret:
        from headcount.token_keys import Secret

        return Secret(self._read_secret, self._clock)

    @cached_property
    def _key_set(self) -> KeySet:
        from headcount.token_keys import KeySet

        return KeySet(self._settings.jwks_url, self._clock)


_BY_KEY_SET = ["RS256", "ES256"]
_BY_SECRET = ["HS256"]


def _text(claim: object) -> str | None:
    """A claim that is text. JSON may hold half a character, which no table and no answer takes."""
    if not isinstance(claim, str) or not claim:
        return None
    return claim if claim == claim.encode(errors="ignore").decode() else None


def _shown(claim: object) -> str | None:
    """A claim that is fit to be shown: what is not must keep nobody out, so it is none."""
    text = _text(claim)
    try:
        return check_text(text, MAX_TOKEN) if text is not None else None
    except ValueError:
        return None


def require(caller: Caller | None, scope: Scope) -> None:
    """Let admins pass, and whose token has the scope; UnauthorizedError without a token,
    ForbiddenError with another's."""
    spaces = known(caller).spaces(scope.action)
    if not spaces or (scope.space is not None and not covers(spaces, scope.space)):
        raise ForbiddenError(
            f"The token does not allow this: it needs the scope {scope}, or the admin claim."
        )


def require_admin(caller: Caller | None) -> None:
    """Let admins pass; UnauthorizedError without a token, ForbiddenError with another's."""
    if not known(caller).admin:
        raise ForbiddenError("The token does not allow this: it needs the admin claim.")


def known(caller: Caller | None) -> Caller:
    """The caller, or UnauthorizedError where there is none."""
    if caller is None:
        raise UnauthorizedError(
            "A token is missing. Send 'Authorization: Bearer <token>' or '?token=<token>'."
        )
    return caller


def takes_cookie(method: str, headers: Mapping[str, str], origins: Collection[str]) -> bool:
    """Whether a cookie's token counts: browsers send cookies along for any page that asks them to.

    It does for pages of our own origin, and of those of ``origins`` that are named: ``*`` names
    none. ``headers`` are lower-case.
    """
    origin = headers.get("origin")
    if origin in origins and origin not in {"*", "null"}:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:  # which no page can make up
        return site in {"same-origin", "none"}
    if origin is None:  # browsers say it with all that does something, and with WebSockets
        return method in {"GET", "HEAD"}
    return origin == f"{headers.get('x-forwarded-proto', 'https')}://{headers.get('host')}"


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
