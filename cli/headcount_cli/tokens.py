"""Tokens of a deployment that signs them with its own secret."""

import re
from collections.abc import Sequence

HOUR = 3600
CLAIM, ADMIN = "headcount", "admin"  # the template's default admin claim and its value
SCOPES = "headcount_scopes"  # the template's default scope claim
ACTIONS = ("read", "people", "moderate", "ingest", "containers", "erase", "share")
_KIND = "[a-z][a-z0-9-]{0,31}"
_SPACE = rf"{_KIND}:(?:\*|[A-Za-z0-9._~@:+-]{{1,128}})"
_SCOPE = re.compile(rf"([a-z]+|\*):(?:\*|{_SPACE}|~group:(?:\*|{_KIND}))|(people|\*):[ucvs]:\S+")


def is_scope(text: str) -> bool:
    """Whether the server accepts it: an action, and a space, ``kind:*``, a group of spaces, ``*``,
    or of ``people`` a person."""
    match = _SCOPE.fullmatch(text)
    return match is not None and (match[1] or match[2]) in {*ACTIONS, "*"}


def mint(
    secret: str,
    *,
    now: float,
    subject: str = "admin",
    lives: int = 12 * HOUR,
    scopes: Sequence[str] = (),
    admin_claim: str = f"{CLAIM}={ADMIN}",
    scope_claim: str = SCOPES,
) -> str:
    """An HS256 token, valid for ``lives`` seconds: with these scopes, or an admin's without any."""
    import jwt  # late: most commands need no token

    claim, _, value = admin_claim.partition("=")
    allowed = {scope_claim: " ".join(scopes)} if scopes else {claim: value}
    claims = {"sub": subject, **allowed, "iat": int(now), "exp": int(now) + lives}
    return jwt.encode(claims, secret, algorithm="HS256")
